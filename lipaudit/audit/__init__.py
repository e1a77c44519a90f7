"""The audit: composes loading, engines, probes and reports. What the command line calls, and a library user too."""

from lipaudit.audit.bounding import bound
from lipaudit.audit.certifying import certify
from lipaudit.audit.sampling import local
from lipaudit.audit.settings import Domain, Fixed, Preprocess, Progress, Settings
from lipaudit.audit.subject import check, refused_report

__all__ = [
    "Domain",
    "Fixed",
    "Preprocess",
    "Progress",
    "Settings",
    "bound",
    "certify",
    "check",
    "local",
    "refused_report",
]
