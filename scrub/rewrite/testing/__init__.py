"""Generated expressions, and checks of rules on them: for this package's suite, and for rules of your own."""

from scrub.rewrite.testing import makers
from scrub.rewrite.testing.check import RuleReport, check_result, check_rule
from scrub.rewrite.testing.maker import MAKERS, Maker, makes

__all__ = ["MAKERS", "Maker", "RuleReport", "check_result", "check_rule", "makers", "makes"]
