"""A run as one page to look at, with the extra `plot`, which is Jinja2 and matplotlib."""

from gpucnn.checks import public_names as _public_names
from gpucnn.report.page import check_libraries as check_libraries
from gpucnn.report.report import write_report as write_report

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
