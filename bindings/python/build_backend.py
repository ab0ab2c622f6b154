"""build_backend: writes the wheel that pip asks for (PEP 517).

A wheel is a zip archive of the files to install and of four files that describe them. setuptools
would do, but it has to be downloaded, and it would need to be told how to take librk along: the
shared library that `make` has built goes beside the module, so that nothing else is needed. Without
one the module looks for an installed librk.
"""

import base64
import hashlib
import os
import re
import sysconfig
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")


def _version():
    with open(os.path.join(ROOT, "CMakeLists.txt")) as f:
        return re.search(r"project\(rwkv VERSION ([0-9.]+)", f.read()).group(1)


def _library():
    """The path of the built library; None when there is none."""
    given = os.environ.get("RWKV_C_LIBRARY")
    if given and not os.path.exists(given):
        raise FileNotFoundError(f"RWKV_C_LIBRARY is {given}: no such file")
    path = given or os.path.join(ROOT, "build", "librk.so.0.2")
    return path if os.path.exists(path) else None


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def _record_line(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    version, library = _version(), _library()
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_") if library else "any"
    tag, info = f"py3-none-{platform}", f"rwkv_c-{version}.dist-info"
    files = {"rwkv_c.py": _read(os.path.join(HERE, "rwkv_c.py"))}
    if library:
        files["librk.so.0.2"] = _read(library)
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: rwkv_c\nVersion: {version}\n"
        "Summary: librk from Python: load, run and train RWKV models\n"
        "License: Apache-2.0\nRequires-Python: >=3.8\n").encode()
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: rwkv.c\n"
        f"Root-Is-Purelib: {'false' if library else 'true'}\nTag: {tag}\n").encode()
    record = "".join(_record_line(name, data) for name, data in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    name = f"rwkv_c-{version}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            wheel.writestr(path, data)
    return name


def build_sdist(sdist_directory, config_settings=None):
    raise NotImplementedError("the repository is the source")
