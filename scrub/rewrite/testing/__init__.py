"""Generated expressions, and checks of rules on them: for this package's suite, and for rules of your own."""

from scrub.rewrite.testing import makers
from scrub.rewrite.testing.check import RuleReport, check_result, check_rule
from scrub.rewrite.testing.maker import MAKERS, Maker, makes
from scrub.rewrite.testing.oracle import groups_of, value_of

__all__ = ["MAKERS", "Maker", "RuleReport", "check_result", "check_rule", "groups_of", "makers", "makes", "value_of"]
