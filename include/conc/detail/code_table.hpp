// SPDX-License-Identifier: MIT
/// @file
/// CodeKey: the name of a piece of code, which another process of the same program understands. CodeTable: what is found by
/// such names.
///
/// Addresses mean nothing elsewhere: the system loads a program to another place each time. What stays is the distance of
/// code from where its module (the program, or a shared library) begins. A module is told by its build id and file name.
#pragma once

#include <elf.h>
#include <link.h>

#include <conc/detail/sync.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Names of types are not enough: g++ gives lambdas of functions of one name in two files one name.
struct CodeKey {
  std::uint64_t hash = 0;    // of the mangled name of the type that the code belongs to, and of the module
  std::uint64_t offset = 0;  // of the code, from where its module begins
  bool operator==(const CodeKey&) const = default;
};

/// FNV-1a, 64 bits.
inline std::uint64_t hash_bytes(const void* bytes, std::size_t count,
                                std::uint64_t hash = 0xcbf29ce484222325U) noexcept {
  const auto* const first = static_cast<const unsigned char*>(bytes);
  for (std::size_t i = 0; i < count; ++i) {
    hash = (hash ^ first[i]) * 0x100000001b3U;
  }
  return hash;
}

/// Where code lies, said so that another process of the same program understands it.
struct CodePlace {
  std::uint64_t module = 0;
  std::uint64_t offset = 0;
};

/// Memory of a module that holds code, and may be executed.
struct CodeSegment {
  bool holds(std::uintptr_t address) const noexcept { return address >= first && address - first < size; }

  std::uint64_t module = 0;  // hash of what tells the module from others
  std::uintptr_t base = 0;   // where the module begins
  std::uintptr_t first = 0;
  std::uintptr_t size = 0;
};

inline std::uint64_t module_id(const dl_phdr_info& module) noexcept {
  const char* const path = module.dlpi_name == nullptr ? "" : module.dlpi_name;  // the program itself has none
  const char* const slash = std::strrchr(path, '/');
  const char* const name = slash == nullptr ? path : slash + 1;
  // The layout of the file stands for its contents where the linker was told to write no build id.
  std::uint64_t id = hash_bytes(name, std::strlen(name));
  id = hash_bytes(module.dlpi_phdr, module.dlpi_phnum * sizeof(ElfW(Phdr)), id);
  for (std::size_t i = 0; i < module.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = module.dlpi_phdr[i];
    if (header.p_type != PT_NOTE) {
      continue;
    }
    const auto* const notes = reinterpret_cast<const unsigned char*>(module.dlpi_addr + header.p_vaddr);
    const std::size_t align = header.p_align == 8 ? 8 : 4;
    const auto padded = [align](std::size_t size) { return (size + align - 1) / align * align; };
    ElfW(Nhdr) note;
    for (std::size_t at = 0; header.p_memsz - at >= sizeof note;) {
      std::memcpy(&note, notes + at, sizeof note);
      const std::size_t text = at + sizeof note + padded(note.n_namesz);
      const std::size_t next = text + padded(note.n_descsz);
      if (next > header.p_memsz) {
        break;
      }
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(notes + at + sizeof note, "GNU", 4) == 0) {
        id = hash_bytes(notes + text, note.n_descsz, id);
      }
      at = next;
    }
  }
  return id;
}

/// The segment that `wanted` accepts, among those of all modules that are loaded. The last one is remembered by each
/// thread, until a module is loaded or unloaded.
template <class Wanted>
std::optional<CodeSegment> find_segment(Wanted wanted) noexcept {
  struct Search {
    Wanted& wanted;
    std::optional<CodeSegment> found{};
    bool looked_back = false;
  };
  struct Memory {
    unsigned long long loaded = 0;
    unsigned long long unloaded = 0;
    CodeSegment segment{};
  };
  thread_local constinit Memory memory;
  Search search{wanted};
  const auto visit = [](dl_phdr_info* module, std::size_t /*size*/, void* argument) {
    auto& [accepts, found, looked_back] = *static_cast<Search*>(argument);
    if (!std::exchange(looked_back, true) && module->dlpi_adds == memory.loaded &&
        module->dlpi_subs == memory.unloaded && accepts(memory.segment)) {
      found = memory.segment;
      return 1;
    }
    std::optional<std::uint64_t> id;
    for (std::size_t i = 0; i < module->dlpi_phnum; ++i) {
      const ElfW(Phdr)& header = module->dlpi_phdr[i];
      if (header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0) {
        id = id ? id : module_id(*module);
        const CodeSegment segment{*id, module->dlpi_addr, module->dlpi_addr + header.p_vaddr, header.p_memsz};
        if (accepts(segment)) {
          memory = {module->dlpi_adds, module->dlpi_subs, segment};
          found = segment;
          return 1;
        }
      }
    }
    return 0;
  };
  dl_iterate_phdr(visit, &search);
  return search.found;
}

/// Nothing for code that belongs to no module: what a compiler made while the program runs.
inline std::optional<CodePlace> place_of(std::uintptr_t code) noexcept {
  const auto segment = find_segment([code](const CodeSegment& candidate) { return candidate.holds(code); });
  return segment ? std::optional{CodePlace{segment->module, code - segment->base}} : std::nullopt;
}

/// The code at that place, which is executable; or 0: no such module is loaded here, or no code is there.
inline std::uintptr_t code_at(const CodePlace& place) noexcept {
  const auto segment = find_segment([&place](const CodeSegment& candidate) {
    return candidate.module == place.module && candidate.holds(candidate.base + place.offset);
  });
  return segment ? segment->base + place.offset : 0;
}

inline CodeKey code_key(const char* mangled_name, std::uintptr_t code) noexcept {
  const CodePlace place = place_of(code).value_or(CodePlace{});
  const std::uint64_t name = hash_bytes(mangled_name, std::strlen(mangled_name));
  return {hash_bytes(&place.module, sizeof place.module, name), place.offset};
}

/// Finds a Code, a kind of pointer, by its key. Modules enter theirs while they are loaded, and take it back when they are
/// unloaded. Nobody waits for anybody, so that a process may fork whatever its threads do here. Never destroyed.
template <class Code>
class CodeTable {
 public:
  /// Stays for good, and is used again if the module comes back. All orders here are of its fields.
  struct Node {
    const CodeKey key;
    const std::string name;  // mangled
    std::atomic<Code> code;  // null while the module is not loaded
    Node* next;              // set before others see the node
  };

  constexpr CodeTable() noexcept = default;

  /// Enters `code`, which must not be null.
  /// @return where: for leave().
  Node& enter(const CodeKey& key, const char* name, Code code) {
    std::atomic<Node*>& bucket = bucket_of(key);
    Node* first = bucket.load(mo::acquire);  // acquire (1): sees what the nodes hold
    for (Node* node = first; node != nullptr; node = node->next) {
      Code none = nullptr;
      // release (2): what lies behind the pointer is visible to who finds it. relaxed: then nothing was read.
      if (node->key == key && node->code.compare_exchange_strong(none, code, mo::release, mo::relaxed)) {
        return *node;
      }
    }
    Node* const node = new Node{key, name, code, first};
    // release: pairs with (1). acquire: the next attempt shows the node that `first` names.
    while (!bucket.compare_exchange_weak(first, node, mo::acq_rel, mo::acquire)) {
      node->next = first;
    }
    return *node;
  }

  /// The code is about to be unloaded.
  static void leave(Node& node) noexcept {
    node.code.store(nullptr, mo::relaxed);  // relaxed: whoever unloads code sees to it that nobody runs it
  }

  /// The code of that name, or null.
  Code find(const CodeKey& key) const noexcept {
    for (const Node* node = bucket_of(key).load(mo::acquire); node != nullptr; node = node->next) {  // acquire: as (1)
      const Code code = node->code.load(mo::acquire);  // acquire: pairs with (2)
      if (node->key == key && code != nullptr) {
        return code;
      }
    }
    return nullptr;
  }

  /// The node of that name, which may have no code any more, or null.
  const Node* find_node(const CodeKey& key) const noexcept {
    const Node* node = bucket_of(key).load(mo::acquire);  // acquire: as (1)
    while (node != nullptr && !(node->key == key)) {
      node = node->next;
    }
    return node;
  }

  /// The first code that `wanted(name, code)` accepts, or null.
  template <class Wanted>
  Code find_if(Wanted wanted) const {
    for (const std::atomic<Node*>& bucket : buckets_) {
      for (const Node* node = bucket.load(mo::acquire); node != nullptr; node = node->next) {  // acquire: as (1)
        const Code code = node->code.load(mo::acquire);  // acquire: pairs with (2)
        if (code != nullptr && wanted(node->name, code)) {
          return code;
        }
      }
    }
    return nullptr;
  }

 private:
  static constexpr std::size_t kBuckets = 512;

  std::atomic<Node*>& bucket_of(const CodeKey& key) noexcept { return buckets_[(key.hash ^ key.offset) % kBuckets]; }
  const std::atomic<Node*>& bucket_of(const CodeKey& key) const noexcept {
    return buckets_[(key.hash ^ key.offset) % kBuckets];
  }

  std::atomic<Node*> buckets_[kBuckets]{};
};

/// Takes code out of its table when the module is unloaded that this is a static of.
template <class Code>
class CodeLease {
 public:
  explicit CodeLease(typename CodeTable<Code>::Node& node) noexcept : node_{node} {}
  CodeLease(const CodeLease&) = delete;
  CodeLease& operator=(const CodeLease&) = delete;
  ~CodeLease() { CodeTable<Code>::leave(node_); }

 private:
  typename CodeTable<Code>::Node& node_;
};

}  // namespace conc::inline CONC_ABI::detail
