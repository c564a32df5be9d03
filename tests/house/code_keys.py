"""Proves that code is found by its key in another process that runs the same program, however the program was built: as
position-independent executable or not, static, with code sections thrown out or folded, optimized over all files, with a
sanitizer; and that exceptions come back from there. Usage: code_keys.py INCLUDE_DIR GXX CLANGXX CLANGXX_19

With CONC_LONG=1 each compiler builds each form.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
LONG = os.environ.get("CONC_LONG") == "1"

# How to compile, and how that may be linked. A link without "-static" has the shared library and the plugin.
PIE = ["-fPIE", "-ffunction-sections", "-fdata-sections"]
LTO = ["-O2", "-flto=auto", "-ffunction-sections"]
FOLDED = ["-pie", "-fuse-ld=lld", "-Wl,--icf=all,--gc-sections"]
GOLD = ["-pie", "-fuse-ld=gold", "-Wl,--gc-sections"]
FORMS = {
    "g++": [
        (PIE, [["-pie"], ["-static-pie"], ["-static"], ["-pie", "-Wl,--gc-sections"], GOLD]),
        ([*LTO, "-fno-pie"], [["-no-pie", "-Wl,--gc-sections"]]),
        (["-fPIE", "-O1", "-fsanitize=thread"], [["-pie"]]),
    ],
    "clang 14": [(["-O2", *PIE], [FOLDED, ["-no-pie"]])],
    "clang 19": [(["-stdlib=libc++", "-O2", "-fPIE"], [["-pie"]])],
}
EVERY = [
    (["-O2", *PIE], [["-pie"], ["-pie", "-Wl,--gc-sections"], ["-static-pie"], FOLDED, [*FOLDED, "-Wl,--build-id=none"], GOLD]),
    (["-fno-pie"], [["-no-pie"], ["-static"]]),
    (["-fPIE", "-O1", "-fsanitize=thread"], [["-pie"]]),
    (["-fPIE", "-fsanitize=address,undefined"], [["-pie"]]),
]
LONG_FORMS = {
    "g++": [*EVERY, *FORMS["g++"], ([*LTO, "-fPIE"], [["-pie", "-Wl,--gc-sections"]])],
    "clang 14": [*EVERY, ([*LTO, "-fPIE"], [FOLDED]), ([*LTO, "-fno-pie"], [["-no-pie", *FOLDED[1:]]])],
    "clang 19": [*EVERY, *FORMS["clang 19"], (["-O2", "-flto", "-fPIE"], [["-pie", "-fuse-ld=gold"]])],
}


def build(command: list[str], output: Path) -> Path:
    subprocess.run([*command, "-o", str(output)], check=True)
    return output


def build_modules(compiler: list[str], folder: Path) -> tuple[Path, Path]:
    """@return the shared library and the plugin, which all forms of one compiler and standard library share"""
    folder.mkdir()
    hidden = ["-shared", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"]
    source = str(HERE / "code_keys_library.cpp")
    return (build([*compiler, *hidden, '-DWHO="library"', source], folder / "libkeys.so"),
            build([*compiler, *hidden, '-DWHO="plug-in"', source], folder / "plugin.so"))


def run_form(compiler: list[str], folder: Path, flags: list[str], links: list[list[str]], modules: Future) -> list[str]:
    """@return what failed"""
    folder.mkdir()
    other = build([*compiler, *flags, "-c", str(HERE / "code_keys_other.cpp")], folder / "other.o")
    failed = []
    for number, link in enumerate(links):
        static = any(flag.startswith("-static") for flag in link)
        main = folder / ("static.o" if static else "main.o")
        if not main.exists():
            build([*compiler, *flags, *([] if static else ["-DWITH_LIBRARY"]), "-c", str(HERE / "code_keys.cpp")], main)
        library, plugin = modules.result()
        libraries = [] if static else [str(library), f"-Wl,-rpath,{library.parent}", "-rdynamic"]
        again = [flag for flag in flags if flag == "-O2" or flag.startswith(("-flto", "-fsanitize"))]
        program = build([*compiler, *again, *link, str(main), str(other), *libraries, "-pthread"], folder / f"program{number}")
        done = subprocess.run([str(program), *([] if static else [str(plugin)])], capture_output=True, text=True, timeout=120)
        words = " ".join([compiler[0], *compiler[3:], *flags, "|", *link])
        print(f"{words}: {done.stdout.strip()}")
        if done.returncode != 0 or done.stderr:
            failed.append(f"{words}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return failed


def main() -> int:
    include, *names = sys.argv[1:]
    compilers = dict(zip(FORMS, names, strict=True))
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        modules, results = {}, []
        for name, forms in (LONG_FORMS if LONG else FORMS).items():
            for flags, links in forms:
                command = [compilers[name], "-std=c++20", f"-I{include}", *[flag for flag in flags if "stdlib" in flag]]
                if str(command) not in modules:
                    folder = Path(scratch, f"modules{len(modules)}")
                    modules[str(command)] = pool.submit(build_modules, command, folder)
                folder = Path(scratch, f"form{len(results)}")
                flags = [flag for flag in flags if flag not in command]
                results.append(pool.submit(run_form, command, folder, flags, links, modules[str(command)]))
        failed = [failure for result in results for failure in result.result()]
    print("\n".join(failed) or "every call was found in every form")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
