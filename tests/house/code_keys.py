"""Proves that code is found by its key in another process that runs the same program, however the program was built: as
position-independent executable or not, static, with code sections thrown out or folded, optimized over all files, with a
sanitizer. Usage: code_keys.py INCLUDE_DIR GXX CLANGXX CLANGXX_19

With CONC_LONG=1 each compiler builds each form.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
LONG = os.environ.get("CONC_LONG") == "1"

# How to compile, and how that may be linked. A link without "-static" has the shared library and the plugin.
PIE = ["-fPIE", "-ffunction-sections", "-fdata-sections"]
LTO = ["-O2", "-flto", "-ffunction-sections"]
FOLDED = ["-pie", "-fuse-ld=lld", "-Wl,--icf=all,--gc-sections"]
FORMS = {
    "g++": [
        (PIE, [["-pie"], ["-static-pie"], ["-static"], ["-pie", "-Wl,--gc-sections"]]),
        ([*LTO, "-fno-pie"], [["-no-pie", "-Wl,--gc-sections"]]),
        (["-fPIE", "-O1", "-fsanitize=thread"], [["-pie"]]),
    ],
    "clang 14": [(["-O2", *PIE], [FOLDED, ["-no-pie"]])],
    "clang 19": [],
}
EVERY = [
    (["-O2", *PIE], [["-pie"], ["-pie", "-Wl,--gc-sections"], ["-static-pie"], FOLDED, [*FOLDED, "-Wl,--build-id=none"]]),
    (["-fno-pie"], [["-no-pie"], ["-static"]]),
    (["-fPIE", "-O1", "-fsanitize=thread"], [["-pie"]]),
    (["-fPIE", "-fsanitize=address,undefined"], [["-pie"]]),
]
LONG_FORMS = {
    "g++": [*EVERY, *FORMS["g++"], ([*LTO, "-fPIE"], [["-pie", "-Wl,--gc-sections"]])],
    "clang 14": [*EVERY, ([*LTO, "-fPIE"], [FOLDED]), ([*LTO, "-fno-pie"], [["-no-pie", *FOLDED[1:]]])],
    "clang 19": EVERY,
}


def build(command: list[str], output: Path) -> Path:
    subprocess.run([*command, "-o", str(output)], check=True)
    return output


def run_form(compiler: list[str], folder: Path, flags: list[str], links: list[list[str]]) -> list[str]:
    """@return what failed"""
    folder.mkdir()
    sanitize = [flag for flag in flags if flag.startswith("-fsanitize")]
    with_library = [link for link in links if not any(flag.startswith("-static") for flag in link)]
    # Every object is the same with and without library, but for this macro.
    other = build([*compiler, *flags, "-c", str(HERE / "code_keys_other.cpp")], folder / "other.o")
    plugin, library = None, []
    hidden = ["-shared", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", *sanitize]
    source = str(HERE / "code_keys_library.cpp")
    failed = []
    for number, link in enumerate(links):
        static = link not in with_library
        main = folder / ("static.o" if static else "main.o")
        if not main.exists():
            build([*compiler, *flags, *([] if static else ["-DWITH_LIBRARY"]), "-c", str(HERE / "code_keys.cpp")], main)
        if not static and plugin is None:
            plugin = build([*compiler, *hidden, '-DWHO="plug-in"', source], folder / "plugin.so")
            library = [str(build([*compiler, *hidden, '-DWHO="library"', source], folder / "libkeys.so"))]
        libraries = [] if static else [*library, f"-Wl,-rpath,{folder}", "-rdynamic"]
        lto = [flag for flag in flags if flag in ("-flto", "-O2")]
        program = build([*compiler, *sanitize, *lto, *link, str(main), str(other), *libraries, "-pthread"],
                        folder / f"program{number}")
        done = subprocess.run([str(program), *([] if static else [str(plugin)])], capture_output=True, text=True, timeout=120)
        words = " ".join([*compiler[:1], *flags, "|", *link])
        print(f"{words}: {done.stdout.strip()}")
        if done.returncode != 0 or done.stderr:
            failed.append(f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return failed


def main() -> int:
    include, *names = sys.argv[1:]
    compilers = dict(zip(FORMS, names, strict=True))
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        results = []
        for number, (name, forms) in enumerate((LONG_FORMS if LONG else FORMS).items()):
            command = [compilers[name], "-std=c++20", f"-I{include}"]
            for form, (flags, links) in enumerate(forms):
                results.append(pool.submit(run_form, command, Path(scratch, f"{number}_{form}"), flags, links))
        failed = [failure for result in results for failure in result.result()]
    print("\n".join(failed) or "every call was found in every form")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
