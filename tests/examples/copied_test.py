"""The folder of an example, copied to another place, builds with clang and runs against an installed conc. In the short
form of scripts/test all of them are configured there, and those are built that use other libraries in ways of their own.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
import programs  # noqa: E402

CONC = Path(__file__).resolve().parents[2]
BUILT_ALWAYS = {"record_filter", "image_pipeline", "chat"}


class Copied(programs.ProgramTest):
    seconds = 800
    prefix = None  # where conc is installed, once for all examples

    @classmethod
    def tearDownClass(cls):
        if cls.prefix:
            cls.prefix.cleanup()

    def install_conc(self, cmake):
        if not self.prefix:
            Copied.prefix = tempfile.TemporaryDirectory(prefix="conc-")
            only_conc = [f"-DCONC_BUILD_{part}=OFF" for part in ("TESTS", "BENCHMARKS", "EXAMPLES")]
            cmake("-S", CONC, "-B", self.folder / "conc", *only_conc)
            cmake("--install", self.folder / "conc", "--prefix", self.prefix.name)
        return self.prefix.name

    def check(self, example):
        settings = programs.build_settings(self.programs[example])
        if settings.get("CONC_SANITIZE"):
            self.skipTest("the same as without sanitizers, for it makes builds of its own")

        def cmake(*arguments):
            # With g++ they have been built already; clang takes two thirds of the time.
            environment = {**os.environ, "CXX": shutil.which("clang++-14") or "clang++"}
            self.run_program([settings["CMAKE_COMMAND"], *map(str, arguments)], env=environment)

        prefix = self.install_conc(cmake)
        copy, build = self.folder / "copy", self.folder / "build"
        shutil.copytree(CONC / "examples" / example, copy)
        cmake("-S", copy, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
        if settings.get("CONC_TEST_ALL") == "OFF" and example not in BUILT_ALWAYS:
            return
        cmake("--build", build)
        out, _ = self.run_program([build / example, "--help"])
        self.assertIn("Exit code:", out)

    def test_record_filter(self):
        self.check("record_filter")

    def test_lock_overhead(self):
        self.check("lock_overhead")

    def test_futures_tour(self):
        self.check("futures_tour")

    def test_cpu_or_io(self):
        self.check("cpu_or_io")

    def test_master_worker(self):
        self.check("master_worker")

    def test_fetch_urls(self):
        self.check("fetch_urls")

    def test_draw_charts(self):
        self.check("draw_charts")

    def test_memory_sampler(self):
        self.check("memory_sampler")

    def test_image_pipeline(self):
        self.check("image_pipeline")

    def test_crash_proof(self):
        self.check("crash_proof")

    def test_lock_jobs(self):
        self.check("lock_jobs")

    def test_fanout_query(self):
        self.check("fanout_query")

    def test_chat(self):
        self.check("chat")


if __name__ == "__main__":
    programs.main()
