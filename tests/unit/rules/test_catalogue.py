"""The catalogue as a whole: what it holds, that it agrees with the SDK's models, how names are chosen from it."""

import re
import time

import pytest

from coreo_shared.catalogue import load_catalogue, read_resource_documents
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.rules.needs import needs_of
from tests.support import shapes as shapes_script

CATALOGUE = load_catalogue()


def test_shapes_are_what_the_sdk_models_say() -> None:
    """After a new operation or SDK: `python -m tests.support.shapes`."""
    files = {file.stem: file.read_text(encoding="utf-8") for file in (shapes_script.FOLDER / "shapes").glob("*.json")}

    assert files == shapes_script.shapes_texts()


def test_regions_are_what_the_sdk_knows() -> None:
    assert (shapes_script.FOLDER / "regions.json").read_text(encoding="utf-8") == shapes_script.regions_text()
    assert {"us-east-1", "eu-west-1"} <= set(CATALOGUE.regions["aws"])
    assert all(partition.home in partition.regions for partition in CATALOGUE.partitions.values())


def test_catalogue_loads_within_a_second() -> None:
    load_catalogue.cache_clear()
    start = time.process_time()
    load_catalogue()
    assert time.process_time() - start < 1


def test_every_enrichment_serves_some_rule() -> None:
    """A call that nothing reads would still be asked of the customer's role."""
    needs = needs_of(CATALOGUE, CATALOGUE.rules)

    assert set(needs.types) == set(CATALOGUE.resource_types)
    for name, resource_type in CATALOGUE.resource_types.items():
        of_type = needs.types[name]
        assert {*of_type.enrichments, *of_type.looked_up} == set(resource_type.enrichments), name


# It makes AWS write the report that GetCredentialReport reads, and changes nothing else.
REPORTS = {"iam:GenerateCredentialReport"}


def test_actions_only_read() -> None:
    for action in needs_of(CATALOGUE, CATALOGUE.rules).actions - REPORTS:
        assert re.fullmatch(r"[a-z0-9-]+:(Describe|Get|List|GET|BatchGet)[A-Za-z0-9]*", action), action


def test_region_of_a_bucket_is_always_known() -> None:
    """Enrichments that tell the region are read even when no rule asks for them."""
    assert "Location" in needs_of(CATALOGUE, ["s3-bucket-versioning"]).types["aws.s3.bucket"].enrichments


@pytest.mark.parametrize("rule_id", sorted(CATALOGUE.rules))
def test_rules_carry_what_people_need(rule_id: str) -> None:
    definition = CATALOGUE.rules[rule_id].definition

    assert len(definition.rationale) > 40
    assert definition.remediation.console
    assert definition.references
    assert all(url.startswith("https://docs.aws.amazon.com/") for url in definition.references)
    assert definition.evidence
    for alias in definition.aliases:
        assert re.fullmatch(r"prowler:[a-z0-9_]+|securityhub:[A-Za-z0-9]+\.[0-9]+", alias), alias


def test_aliases_are_not_given_twice() -> None:
    aliases = [alias for rule in CATALOGUE.rules.values() for alias in rule.definition.aliases]
    assert len(aliases) == len(set(aliases))


def test_rule_sets_hold_what_maps_to_their_framework() -> None:
    assert "s3-bucket-mfa-delete" in CATALOGUE.rule_sets["cis-aws-5.0"]
    assert "s3-bucket-versioning" not in CATALOGUE.rule_sets["cis-aws-5.0"]
    assert len(CATALOGUE.rule_sets["baseline"]) >= 30


def test_selection_joins_rules_and_rule_sets() -> None:
    chosen = CATALOGUE.select(["s3-bucket-versioning", "iam-root-mfa"], ["cis-aws-5.0"])

    assert chosen == sorted({"s3-bucket-versioning", *CATALOGUE.rule_sets["cis-aws-5.0"]})


@pytest.mark.parametrize(
    ("rules", "rule_sets", "field", "hint"),
    [
        (["iam-root-mfa", "s3-bucket-versionning"], [], "rules.1", "did you mean s3-bucket-versioning?"),
        ([], ["baseline", "cis-aws-5"], "rule_sets.1", "did you mean cis-aws-5.0?"),
        (["x" * 100_000], [], "rules.0", "no rule of this name"),
    ],
)
def test_unknown_names_are_refused_by_place(rules: list[str], rule_sets: list[str], field: str, hint: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        CATALOGUE.select(rules, rule_sets)

    assert caught.value.field == field
    assert hint in str(caught.value)
    assert not any(name in str(caught.value) for name in rules if name.endswith(("nning", "xx")))


def test_resource_documents_are_named_after_their_type() -> None:
    assert {f"{document.type}.yaml" for document in read_resource_documents().values()} == set(
        read_resource_documents()
    )
