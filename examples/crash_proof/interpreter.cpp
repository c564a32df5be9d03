// SPDX-License-Identifier: MIT
#include "interpreter.hpp"

#include <cctype>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace crash_proof {
namespace {

using Number = std::int64_t;
using Value = std::variant<Number, std::string>;

[[noreturn]] void fail(int line, const std::string& what) {
  throw ProgramError("line " + std::to_string(line) + ": " + what);
}

struct Token {
  enum class Kind { number, text, word, sign, end };
  Kind kind;
  std::string text;
  int line;
};

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Cuts a program into its words, numbers, texts and signs. The last token is the end.
std::vector<Token> tokens_of(std::string_view program) {
  using Kind = Token::Kind;
  std::vector<Token> tokens;
  int line = 1;
  const auto take = [&](Kind kind, std::size_t length) {
    tokens.push_back({kind, std::string(program.substr(0, length)), line});
    program.remove_prefix(length);
  };
  const auto length_of = [&](auto belongs) {
    std::size_t length = 0;
    while (length < program.size() && belongs(program[length])) ++length;
    return length;
  };
  while (!program.empty()) {
    const char c = program.front();
    if (c == '\n') ++line;
    if (is_space(c)) {
      program.remove_prefix(1);
    } else if (c == '#') {
      program.remove_prefix(length_of([](char other) { return other != '\n'; }));
    } else if (is_digit(c)) {
      take(Kind::number, length_of(is_digit));
    } else if (is_in_word(c)) {
      take(Kind::word, length_of(is_in_word));
    } else if (c == '"') {
      program.remove_prefix(1);
      take(Kind::text, length_of([](char other) { return other != '"' && other != '\n'; }));
      if (!program.starts_with('"')) fail(line, "a text is not closed");
      program.remove_prefix(1);
    } else if (program.starts_with("==")) {
      take(Kind::sign, 2);
    } else if (std::string_view("+-*/%<=(){};").find(c) != std::string_view::npos) {
      take(Kind::sign, 1);
    } else {
      fail(line, "a program has no such character: '" + std::string(1, c) + "'");
    }
  }
  tokens.push_back({Kind::end, "the end of the program", line});
  return tokens;
}

/// Does what the tokens say while it reads them: a loop goes back to where it began.
class Interpreter {
 public:
  explicit Interpreter(const std::string& program) : tokens_(tokens_of(program)) {}

  std::string run() {
    while (here().kind != Token::Kind::end) statement();
    return std::move(printed_);
  }

 private:
  void statement() {
    if (accept("print")) {
      printed_ += text_of(expression()) + '\n';
      expect(";");
    } else if (accept("assert")) {
      if (!is_true(expression())) std::abort();
      expect(";");
    } else if (accept("if")) {
      is_true(expression()) ? block() : skip_block();
    } else if (accept("while")) {
      const std::size_t condition = next_;
      while (is_true(expression())) {
        block();
        next_ = condition;
      }
      skip_block();
    } else {
      const std::string name = word();
      expect("=");
      variables_[name] = expression();
      expect(";");
    }
  }

  void block() {
    expect("{");
    while (!accept("}")) statement();
  }

  void skip_block() {
    expect("{");
    for (int open = 1; open > 0; ++next_) {
      if (here().kind == Token::Kind::end) fail("'}'");
      open += is_sign("{") ? 1 : is_sign("}") ? -1 : 0;
    }
  }

  // Each calls the one below for its operands, and the last one the first for what is in parentheses.

  Value expression() {
    Value left = sum();
    while (is_sign("<") || is_sign("==")) {
      const char sign = take_sign();
      left = apply(sign, left, sum());
    }
    return left;
  }

  Value sum() {
    Value left = product();
    while (is_sign("+") || is_sign("-")) {
      const char sign = take_sign();
      left = apply(sign, left, product());
    }
    return left;
  }

  Value product() {
    Value left = factor();
    while (is_sign("*") || is_sign("/") || is_sign("%")) {
      const char sign = take_sign();
      left = apply(sign, left, factor());
    }
    return left;
  }

  Value factor() {
    if (accept("(")) {
      Value inner = expression();
      expect(")");
      return inner;
    }
    if (accept("-")) return apply('-', Number{0}, factor());
    const Token& token = tokens_[next_];
    if (token.kind == Token::Kind::text) {
      ++next_;
      return token.text;
    }
    if (token.kind == Token::Kind::number) {
      Number number = 0;
      const char* const end = token.text.data() + token.text.size();
      if (std::from_chars(token.text.data(), end, number).ec != std::errc{}) too_large();
      ++next_;
      return number;
    }
    const auto variable = variables_.find(word());
    if (variable == variables_.end()) crash_proof::fail(token.line, "there is no variable '" + token.text + "'");
    return variable->second;
  }

  Value apply(char sign, const Value& left, const Value& right) {
    if (sign == '=') return Number{left == right};
    if (sign == '+' && (is_text(left) || is_text(right))) return text_of(left) + text_of(right);
    if (sign == '*' && is_text(left)) return repeat(std::get<std::string>(left), number_of(right));
    const Number a = number_of(left);
    const Number b = number_of(right);
    Number result = 0;
    bool overflows = false;
    switch (sign) {
      case '<':
        return Number{a < b};
      case '+':
        overflows = __builtin_add_overflow(a, b, &result);
        break;
      case '-':
        overflows = __builtin_sub_overflow(a, b, &result);
        break;
      case '*':
        overflows = __builtin_mul_overflow(a, b, &result);
        break;
      default:
        if (b == 0) crash_proof::fail(here().line, "division by zero");
        if (b == -1) return apply('-', Number{0}, sign == '/' ? a : Number{0});  // only this can overflow
        result = sign == '/' ? a / b : a % b;
    }
    if (overflows) too_large();
    return result;
  }

  std::string repeat(const std::string& text, Number times) {
    std::string result;
    for (Number i = 0; i < times; ++i) result += text;
    return result;
  }

  static bool is_text(const Value& value) { return std::holds_alternative<std::string>(value); }
  static bool is_true(const Value& value) { return is_text(value) || std::get<Number>(value) != 0; }
  static std::string text_of(const Value& value) {
    return is_text(value) ? std::get<std::string>(value) : std::to_string(std::get<Number>(value));
  }
  Number number_of(const Value& value) {
    if (is_text(value)) crash_proof::fail(here().line, "a text is no number");
    return std::get<Number>(value);
  }

  const Token& here() const { return tokens_[next_]; }
  bool is_sign(std::string_view sign) const { return here().kind == Token::Kind::sign && here().text == sign; }
  char take_sign() { return tokens_[next_++].text.front(); }
  bool accept(std::string_view text) {
    const bool found = (here().kind == Token::Kind::sign || here().kind == Token::Kind::word) && here().text == text;
    next_ += found ? 1 : 0;
    return found;
  }
  void expect(std::string_view sign) {
    if (!accept(sign)) fail("'" + std::string(sign) + "'");
  }
  std::string word() {
    if (here().kind != Token::Kind::word) fail("a value or a name");
    return tokens_[next_++].text;
  }

  [[noreturn]] void fail(const std::string& expected) {
    const bool at_end = here().kind == Token::Kind::end;
    crash_proof::fail(here().line, expected + " is missing before " + (at_end ? here().text : "'" + here().text + "'"));
  }
  [[noreturn]] void too_large() { crash_proof::fail(here().line, "a number is too large"); }

  std::vector<Token> tokens_;
  std::size_t next_ = 0;
  std::unordered_map<std::string, Value> variables_;
  std::string printed_;
};

}  // namespace

std::string run_program(const std::string& program) { return Interpreter{program}.run(); }

}  // namespace crash_proof
