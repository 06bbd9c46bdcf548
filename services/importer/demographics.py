"""MovieLens' demographic codes in words. The tables are those of the MovieLens 1M README."""

AGE_GROUPS: dict[int, str] = {
    1: "Under 18",
    18: "18-24",
    25: "25-34",
    35: "35-44",
    45: "45-49",
    50: "50-55",
    56: "56+",
}
"""MovieLens 1M writes the lower bound of a group, not an age; 1 stands for "under 18"."""

OCCUPATIONS: tuple[str, ...] = (
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
)

GENDERS: dict[str, str] = {"F": "female", "M": "male"}


def age_group(age: int) -> str:
    """Return the group that an exact age falls into.

    >>> age_group(17), age_group(24), age_group(56)
    ('Under 18', '18-24', '56+')
    """
    return AGE_GROUPS[max(lower for lower in AGE_GROUPS if lower <= max(age, 1))]
