"""Tests code_blocks.py and from_python.py on pages made for it: what does not hold is reported.

Usage: code_blocks_test.py CXX
"""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
import code_blocks
import from_python

COMPILER = sys.argv.pop()
HELLO = '#include <cstdio>\nint main() {\n  std::puts("hello");\n  std::puts("at +0x12");\n}\n'
COMMAND = "    g++ -std=c++20 hello.cpp -o hello && ./hello"


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}```\n"


class Pages(unittest.TestCase):
    def problems_of(self, text: str) -> list[str]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "include").mkdir()
            page = folder / "page.md"
            page.write_text(text)
            return code_blocks.check_page(page, folder, COMPILER)[1]

    def assert_problem(self, words: str, text: str):
        problems = self.problems_of(text)
        self.assertEqual(1, len(problems), problems)
        self.assertIn(words, problems[0])

    def test_a_program_that_keeps_its_promises_is_fine(self):
        self.assertEqual([], self.problems_of(fenced("cpp", HELLO)))
        self.assertEqual([], self.problems_of(fenced("cpp", HELLO) + COMMAND + "\n" + fenced("text", "...\nat +0x7\n")))
        self.assertEqual([], self.problems_of(fenced("cpp", "int main() { return 3; }\n") + COMMAND + " # ends with 3\n"))

    def test_clang_is_told_that_it_has_coroutines(self):
        loop = "#include <conc/event_loop.hpp>\n"
        self.assertEqual(["-DASIO_HAS_CO_AWAIT=1"], code_blocks.flags_for(loop, "/usr/bin/clang++-14"))
        self.assertEqual([], code_blocks.flags_for(loop, "/usr/bin/g++-12"))
        self.assertEqual([], code_blocks.flags_for(HELLO, "/usr/bin/clang++-14"))

    def test_what_is_no_program_is_reported(self):
        self.assert_problem("neither a program", fenced("cpp", "conc::Lock lock;\n"))

    def test_python_is_reported(self):
        self.assert_problem("Python outside", fenced("python", "print()\n"))

    def test_a_program_that_does_not_compile_is_reported(self):
        self.assert_problem("error", fenced("cpp", "int main() { return nothing; }\n"))

    def test_a_warning_is_reported(self):
        self.assert_problem("unused", fenced("cpp", "int main() { int unused = 0; }\n"))

    def test_a_program_that_fails_is_reported(self):
        self.assert_problem("ended with 1", fenced("cpp", "int main() { return 1; }\n"))

    def test_another_output_is_reported(self):
        self.assert_problem("not goodbye", fenced("cpp", HELLO) + COMMAND + "  # prints goodbye\n")
        self.assert_problem("in its place: hello", fenced("cpp", HELLO) + fenced("text", "at +0x7\nhello\n"))

    def test_a_promise_in_other_words_is_reported(self):
        self.assert_problem("nobody can test", fenced("cpp", HELLO) + COMMAND + "  # says hello\n")

    def test_a_command_that_runs_something_else_is_reported(self):
        self.assert_problem("runs 'hell'", fenced("cpp", HELLO) + COMMAND[:-1] + "\n")

    def test_a_second_run_must_keep_its_promises_too(self):
        program = fenced("cpp", '#include <cstdio>\n#include <cstdlib>\nint main() {\n  const char* const word = '
                                'std::getenv("WORD");\n  std::puts(word ? "again" : "first");\n  std::puts("word");\n'
                                '  return word ? 1 : 0;\n}\n')
        page = program + COMMAND + "\n" + fenced("text", "first\nword\n")
        self.assertEqual([], self.problems_of(page + "    WORD=some ./hello  # ends with 1\n"))
        self.assertEqual([], self.problems_of(program + COMMAND + "\n    WORD=some ./hello  # ends with 1\n"))
        self.assert_problem("ended with 1", page + "    WORD=some ./hello\n")
        self.assert_problem("the program is 'hello'", page + "    WORD=some ./hell  # ends with 1\n")
        more = program.replace('"word"', 'word ? "other" : "word"')
        self.assert_problem("in its place: word", page.replace(program, more) + "    WORD=some ./hello  # ends with 1\n")

    def test_blocks_that_no_test_would_see_are_errors(self):
        for page in (fenced("c++", HELLO), "- as here:\n  ```cpp\n  ```\n", "    #include <conc/lock.hpp>\n",
                     "```cpp\n", "```cpp\n```text\n```\n"):
            with self.assertRaises(code_blocks.PageError, msg=page):
                code_blocks.blocks(page)


class Rows(unittest.TestCase):
    def test_a_row_is_a_pair(self):
        row, = from_python.rows_of("### A row\n" + fenced("python", "1\n") + "\n" + fenced("cpp", "2;\n"))
        self.assertEqual(("A row", "1\n", "2;\n", None, (3, 0)),
                         (row.name, row.python.text, row.cpp.text, row.output, row.needs))

    def test_what_is_no_pair_is_an_error(self):
        python, cpp = fenced("python", "1\n"), fenced("cpp", "2;\n")
        new = fenced("python", "# Python 3.99\n1\n")
        for page in (python, cpp, cpp + python, python + "words\n" + cpp, python + cpp + cpp,
                     python + cpp + python + cpp, new + cpp):
            with self.assertRaises(from_python.PageError, msg=page):
                from_python.rows_of(page)

    def check(self, python: str, cpp: str, output: str = "") -> bool:
        page = "# Beginning\n" + fenced("python", "n = 1\n") + fenced("cpp", "#include <cstdio>\nint n = 1;\n")
        page += "# Row\n" + fenced("python", python) + fenced("cpp", cpp) + (fenced("text", output) if output else "")
        beginning, row = from_python.rows_of(page)
        with tempfile.TemporaryDirectory() as folder:
            source, program = Path(folder, "rows.cpp"), Path(folder, "rows")
            source.write_text(from_python.cpp_program(beginning.cpp, [row]))
            subprocess.run([COMPILER, "-std=c++20", source, "-o", program], check=True)
            return from_python.check(row, 0, beginning, program)

    def test_equal_output_is_fine(self):
        self.assertTrue(self.check("print(n)\n", 'std::printf("%d\\n", n);\n'))

    def test_what_an_old_python_cannot_run_is_compared_with_the_page(self):
        new = "# Python 3.99\nbreak everything\n"
        self.assertFalse(self.check(new, 'std::puts("1");\n', "1\n"))
        with self.assertRaises(from_python.RowError):
            self.check(new, 'std::puts("1");\n', "2\n")

    def test_what_differs_or_fails_is_reported(self):
        for python, cpp in (("print(n)\n", 'std::puts("2");\n'),
                            ("print(n)\n", 'std::puts("1 ");\n'),
                            ("pass\n", "++n;\n"),
                            ("print(n)\n", 'std::puts("1");\nstd::fputs("oh", stderr);\n'),
                            ("print(n)\n", 'std::puts("1");\nthrow n;\n'),
                            ("print(n)\n1 / 0\n", 'std::puts("1");\n')):
            with self.assertRaises(from_python.RowError, msg=(python, cpp)):
                self.check(python, cpp)


if __name__ == "__main__":
    unittest.main()
