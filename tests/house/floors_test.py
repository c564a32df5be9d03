"""Tests floors.py on headers made for it: each breach is reported, and clean headers are not."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))
import floors


class Floors(unittest.TestCase):
    def problems_of(self, **texts):
        with tempfile.TemporaryDirectory() as scratch:
            for name, text in texts.items():
                path = Path(scratch, "conc", f"{name}.hpp")
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
            return list(floors.problems(Path(scratch)))

    def test_a_lower_floor_is_fine(self):
        self.assertEqual([], self.problems_of(error="#include <atomic>\n", lock="#include <conc/error.hpp>\n"))

    def test_a_higher_floor_is_not(self):
        self.assertIn("includes lock.hpp", self.problems_of(error="#include <conc/lock.hpp>\n", lock="")[0])

    def test_the_same_floor_is_not(self):
        self.assertIn("includes lock.hpp", self.problems_of(event='  #  include "conc/lock.hpp"\n', lock="")[0])

    def test_a_header_needs_a_floor(self):
        self.assertIn("has no floor", self.problems_of(surprise="")[0])

    def test_expensive_headers_are_reported(self):
        self.assertIn("<regex>", self.problems_of(error="#include <regex>\n")[0])

    def test_comments_are_not_code(self):
        comments = "// words\n" * 200 + "/* more\nwords */\n" * 100
        self.assertEqual([], self.problems_of(error=comments + "int a;\n" * 349))

    def test_too_much_code_is_reported(self):
        self.assertIn("350 lines", self.problems_of(error='auto a = "// no comment";\n' * 350)[0])

    def test_a_hidden_error_is_reported(self):
        self.assertIn("Late needs", self.problems_of(error="class Late final : public Error {};\n")[0])
        self.assertIn("Odd needs", self.problems_of(error="struct Odd : std::logic_error {};\n")[0])
        self.assertEqual([], self.problems_of(error='class [[gnu::visibility("default")]] Late : public Error {};\n'))

    def test_no_headers_at_all_is_reported(self):
        self.assertIn("no headers", self.problems_of()[0])


if __name__ == "__main__":
    unittest.main()
