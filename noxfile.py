"""Everything there is to run in this repository; `nox -l` lists it.

A bare `nox` runs tests, lint and types. Arguments after `--` go to the tool: `nox -s tests -- packages/vip-core -k revival`.
`-R` keeps the environment of the last run and installs nothing.
"""

import ast
import os
import shutil
import zipfile
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PACKAGES = ("vip-core", "vip-train", "vip-demo")
SAVING = 60  # seconds that a run has for its checkpoint after Ctrl-C

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types"]
nox.options.default_venv_backend = "virtualenv"  # uv resolves torch to its CUDA build
nox.options.error_on_missing_interpreters = True


@nox.session
def tests(session: nox.Session) -> None:
    """Tests of all packages, as far as this machine allows; skips say why."""
    groups, extras = ["test"], ["tensorboard", "wandb", "quantized", "study"]
    if shutil.which("g++"):
        extras.append("deepspeed")
    else:
        session.log("no g++ here: DeepSpeed cannot compile its operators and its tests are skipped")
    if shutil.which("chromium"):
        groups.append("browser")
    else:
        session.log("no chromium here: the tests of the demo page are skipped")
    install(session, *PACKAGES, groups=groups, extras=extras)
    session.run("python", "-m", "pytest", *(session.posargs or ["packages"]), env=hermetic(session))


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and formatting, by ruff; `-- --fix` repairs what it can."""
    install(session, groups=["lint"])
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))


@nox.session
def types(session: nox.Session) -> None:
    """Static types of all sources, by mypy in its strict mode."""
    install(session, *PACKAGES, groups=["types"])
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Sdist and wheel of each package, into dist/, looked into."""
    install(session, groups=["build"])
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--outdir", str(dist), f"packages/{package}", silent=True)
    for package in PACKAGES:
        check_wheel(session, dist, package)


@nox.session(default=False)
def quickstart(session: nox.Session) -> None:
    """Soft prompt tuning and VIP side by side on a built-in task; flags after `--` go to `vip-train compare`."""
    install(session, "vip-core", "vip-train")
    command = ("vip-train", "compare", "--task", "suite/forms", *session.posargs)
    session.run(*command, env=one_thread(), interrupt_timeout=SAVING, terminate_timeout=SAVING)
    session.log("`nox -s demo` shows both in a browser")


@nox.session(default=False)
def train(session: nox.Session) -> None:
    """Trains a prompt; flags after `--` go to run.py."""
    install(session, "vip-core", "vip-train")
    command = ("python", "packages/vip-train/run.py", *session.posargs)
    session.run(*command, env=one_thread(), interrupt_timeout=SAVING, terminate_timeout=SAVING)


@nox.session(default=False)
def demo(session: nox.Session) -> None:
    """The demo page, on this machine only; flags after `--` go to vip-demo."""
    install(session, *PACKAGES)
    session.run("vip-demo", *session.posargs)


@nox.session(default=False)
def space(session: nox.Session) -> None:
    """A folder, dist/space, that Docker builds and that can be pushed as a Hugging Face Space as it is."""
    install(session, groups=["build"])
    folder = ROOT / "dist" / "space"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "packages" / "vip-demo" / "space", folder)
    shutil.copy(ROOT / "constraints.txt", folder)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--wheel", "--outdir", str(folder / "wheels"), f"packages/{package}", silent=True)
    session.log("docker build -t vip-demo dist/space && docker run --rm -p 7860:7860 vip-demo")


@nox.session(default=False)
def screenshots(session: nox.Session) -> None:
    """The pictures of docs/demo.md: every view, light and dark, on a laptop and on a phone."""
    install(session, *PACKAGES, groups=["browser"])
    session.run("python", "packages/vip-demo/screenshots.py", "docs/images/demo", env=one_thread())


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """A benchmark by name, `-- quantizer`; without a name, the list of them."""
    scripts = {path.stem: path for path in sorted(ROOT.glob("benchmarks/[!_]*.py"))}
    if not session.posargs:
        for name, path in scripts.items():
            print(f"{name:20} {summary(path)}")
        session.skip("no benchmark named")
    name, *arguments = session.posargs
    if name not in scripts:
        session.error(f"no benchmark {name!r}; there are: {', '.join(scripts) or 'none yet'}")
    install(session, *PACKAGES, groups=["bench"], extras=["deepspeed"] if shutil.which("g++") else [])
    session.run("python", str(scripts[name].relative_to(ROOT)), *arguments)


def install(session: nox.Session, *packages: str, groups: list[str] | None = None, extras: list[str] | None = None) -> None:
    """Installs packages of this repository, editable, and dependency groups, in the versions of constraints.txt.

    Args:
        session: the session to install into.
        packages: folders in packages/. Siblings must come along: they pin each other and are in no registry.
        groups: dependency groups of the root's pyproject.toml.
        extras: of vip-train.
    """
    # As a URI, because pip splits the variables' values at spaces. The second variable is for the packages that build others.
    constraints = (ROOT / "constraints.txt").as_uri()
    for variable in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):
        session.env[variable] = os.environ.get(variable, os.environ.get("PIP_CONSTRAINT", constraints))
    editable = []
    for package in packages:
        suffix = f"[{','.join(extras)}]" if extras and package == "vip-train" else ""
        editable += ["--editable", f"packages/{package}{suffix}"]
    requirements = nox.project.dependency_groups(PYPROJECT, *groups) if groups else ()
    session.install(*editable, *requirements)


def one_thread() -> dict[str, str]:
    """Two threads on two cores wait for each other as soon as anything else runs: 2 to 4 s a step instead of 0.3."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def hermetic(session: nox.Session) -> dict[str, str]:
    """Environment in which tests reach no hub, share nothing with other runs and do not fight over cores."""
    # Operators compiled by another version of torch, or the lock of a killed build, make DeepSpeed hang in silence.
    operators = Path(session.virtualenv.location).resolve() / "torch_extensions"
    wanted = {
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        # The tensors are small and some tests start several processes: two of two threads on two cores are 5x slower than one.
        "OMP_NUM_THREADS": "1",
        "TORCH_EXTENSIONS_DIR": str(operators),
    }
    return {name: os.environ.get(name, value) for name, value in wanted.items()}


def check_wheel(session: nox.Session, dist: Path, package: str) -> None:
    """Fails the session unless dist/ has one wheel of the package that holds its sources and licence, and nothing else."""
    module = package.replace("-", "_")
    found = list(dist.glob(f"{module}-*.whl"))
    if len(found) != 1:
        session.error(f"expected one wheel of {package} in {dist}, found {len(found)}")
    with zipfile.ZipFile(found[0]) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        licensed = any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    folder = ROOT / "packages" / package / "src"
    sources = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    sources = {name for name in sources if "__pycache__" not in name}
    if packed != sources:
        session.error(f"{found[0].name} and {folder} differ in {', '.join(sorted(packed ^ sources))}")
    for name in ("__init__.py", "py.typed"):
        if f"{module}/{name}" not in packed:
            session.error(f"{found[0].name} lacks {module}/{name}")
    if not licensed:
        session.error(f"{found[0].name} lacks its LICENSE")
    session.log(f"{found[0].name}: {len(packed)} files, {found[0].stat().st_size / 1024:.0f} KiB")


def summary(path: Path) -> str:
    """First line of a script's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
