"""A template's text: both forms give the same data, and no text costs more than it is long."""

import json

import pytest

from coreo_shared.cloudformation.reading import MAX_DEPTH, MAX_TEMPLATE_BYTES, TemplateTextError, read_template

YAML = """
Parameters:
  Open: {Type: String, Default: no}
Conditions:
  IsOpen: !Equals [!Ref Open, "yes"]
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Condition: IsOpen
    Properties:
      BucketName: !Sub "${AWS::StackName}-b"
      Tags:
        - {Key: made, Value: 2026-01-31}
        - {Key: number, Value: 0755}
      Policy: !If [IsOpen, {Version: 2012-10-17}, !Ref AWS::NoValue]
      Arn: !GetAtt Other.Arn
      Parts: !Split [",", "a,b"]
      Size: 12
      Share: 0.5
      Nothing:
      Text: "12"
"""


def test_short_forms_are_long_ones() -> None:
    template = read_template(YAML)

    assert template["Parameters"] == {"Open": {"Type": "String", "Default": False}}
    assert template["Conditions"] == {"IsOpen": {"Fn::Equals": [{"Ref": "Open"}, "yes"]}}
    assert template["Resources"]["Bucket"]["Condition"] == "IsOpen"
    assert template["Resources"]["Bucket"]["Properties"] == {
        "BucketName": {"Fn::Sub": "${AWS::StackName}-b"},
        "Tags": [{"Key": "made", "Value": "2026-01-31"}, {"Key": "number", "Value": "0755"}],
        "Policy": {"Fn::If": ["IsOpen", {"Version": "2012-10-17"}, {"Ref": "AWS::NoValue"}]},
        "Arn": {"Fn::GetAtt": ["Other", "Arn"]},
        "Parts": {"Fn::Split": [",", "a,b"]},
        "Size": 12,
        "Share": 0.5,
        "Nothing": None,
        "Text": "12",
    }


def test_json_is_read_as_it_is() -> None:
    template = {"Resources": {"A": {"Type": "AWS::SNS::Topic", "Properties": {"DisplayName": "on"}}}}

    assert read_template(json.dumps(template)) == template
    assert read_template('{"Resources": {"\\ud83d\\ude00": {}}}') == {"Resources": {"\U0001f600": {}}}
    assert read_template("{Resources: {A: {Type: AWS::SNS::Topic}}}")["Resources"] == {"A": {"Type": "AWS::SNS::Topic"}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "must be one document"),
        ("a: 1\n---\nb: 2\n", "must be one document"),
        ("- a\n", "a template is an object with Resources"),
        ("Resources: {}\n", "Resources: missing, or without any resource"),
        ("Parameters: {}\n", "Resources: missing, or without any resource"),
        ("Resources:\n  A: &x {Type: T}\n", "line 2: CloudFormation knows no anchors"),
        ("Resources:\n  A: *x\n", "line 2: CloudFormation knows no aliases"),
        ("Resources:\n  A: {Type: T}\n  A: {Type: T}\n", "line 3: this key is there twice"),
        ("Resources:\n  A: !!python/object:os.system {}\n", "line 2: a tag that CloudFormation does not know"),
        ("Resources:\n  A: {Type: T\n", "line 3: not YAML"),
        ("Resources:\n  ? [a]\n  : b\n", "line 2: a key must be a plain word"),
        ("Resources:\n  A: \x01\n", "not YAML: a character is not allowed"),
        ("Resources: " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper than"),
        ('{"Resources": ' + "[" * 5_000 + "]" * 5_000 + "}", "nested deeper than"),
        ('{"Resources": ' + "[" * 500 + "]" * 500 + "}", "nested deeper than"),
        ('{"Resources": [' + "1," * 200_001 + "1]}", "more than 200000 values"),
        ("Resources: [" + "1," * 200_001 + "1]", "more than 200000 values"),
        ('{"Resources": {"A": {"Type": "\\uD800"}}}', "half of a character's code stands alone"),
        ('{"Resources": {"\\udfff": {"Type": "T"}}}', "half of a character's code stands alone"),
        ("#" * (MAX_TEMPLATE_BYTES + 1), "longer than 1048576 bytes"),
        ("é" * (MAX_TEMPLATE_BYTES // 2 + 1), "longer than 1048576 bytes"),
    ],
)
def test_what_is_no_template_is_said(text: str, problem: str) -> None:
    with pytest.raises(TemplateTextError) as raised:
        read_template(text)

    assert problem in str(raised.value)
