"""PromQL taken apart: the selectors of an expression, and their metric names."""

from collections.abc import Iterator

import promql_parser


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Yield every selector of the expression, also those inside ranges, subqueries and functions.

    Raises:
        ValueError: the expression is not PromQL.
    """
    yield from _selectors(promql_parser.parse(expression))


def metric_names(expression: str) -> set[str]:
    """Return the names of the metrics that the expression reads; a selector without a name is an error."""
    names = {selector.name for selector in selectors(expression)}
    assert None not in names, f"a selector without a metric's name: {expression}"
    return {str(name) for name in names}


def _selectors(node: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    match node:
        case promql_parser.VectorSelector():
            yield node
        case promql_parser.MatrixSelector():
            yield node.vector_selector
        case promql_parser.Call():
            for argument in node.args:
                yield from _selectors(argument)
        case promql_parser.BinaryExpr():
            yield from _selectors(node.lhs)
            yield from _selectors(node.rhs)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.SubqueryExpr():
            yield from _selectors(node.expr)
        case promql_parser.UnaryExpr():
            yield from _selectors(node.expr)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise AssertionError(f"a kind of expression that is not known here: {type(node).__name__}")
