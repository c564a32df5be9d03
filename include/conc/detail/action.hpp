// SPDX-License-Identifier: MIT
/// @file
/// Action: any callable without arguments, to be kept and called by several threads.
#pragma once

#include <conc/detail/ref.hpp>
#include <optional>
#include <type_traits>
#include <utility>

namespace conc::inline CONC_ABI::detail {

/// Empty, or a callable that its copies share. Calls from several threads at once reach the one callable.
class Action {
 public:
  Action() noexcept = default;

  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Action>)
  Action(F&& fn)  // NOLINT(google-explicit-constructor): an option is given as the callable that it is
      : target_{Ref<Target>::adopt(new TargetOf<std::decay_t<F>>{std::forward<F>(fn)})} {
    static_assert(std::is_invocable_v<std::decay_t<F>&>, "the callable must be callable without arguments");
  }

  explicit operator bool() const noexcept { return target_.has_value(); }
  void operator()() const { (*target_)->call(); }

 private:
  struct Target : RefCounted {
    virtual void call() = 0;
  };
  template <class F>
  struct TargetOf final : Target {
    template <class G>
    explicit TargetOf(G&& callable) : fn(std::forward<G>(callable)) {}
    void call() override { fn(); }
    F fn;
  };

  std::optional<Ref<Target>> target_;
};

}  // namespace conc::inline CONC_ABI::detail
