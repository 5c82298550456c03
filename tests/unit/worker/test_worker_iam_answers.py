"""IAM's answers: what is read of them, and that no XML does anything to who reads it."""

import tracemalloc

import pytest

from coreo_worker.onboard.answers import MAX_ANSWER_BYTES, Answer, UnreadableAnswerError, parse_answer

USER = b"""<?xml version="1.0" encoding="UTF-8"?>
<GetUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
  <GetUserResult>
    <User>
      <Arn>arn:aws:iam::123456789012:user/anna</Arn>
      <Path>/</Path>
      <Tags><member><Key>Arn</Key><Value>a &amp; b</Value></member></Tags>
      <Arn>another</Arn>
    </User>
  </GetUserResult>
  <ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</GetUserResponse>"""
REFUSED = b"""<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
  <Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>It &lt;is&gt; not there.</Message></Error>
  <RequestId>r</RequestId>
</ErrorResponse>"""
LAUGHS = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">
<!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;"><!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;">]>
<GetUserResponse><GetUserResult><User><Arn>&g;</Arn></User></GetUserResult></GetUserResponse>"""
QUADRATIC = (
    b'<!DOCTYPE x [<!ENTITY a "' + b"A" * 50_000 + b'">]><GetUserResponse>' + b"&a;" * 20_000 + b"</GetUserResponse>"
)
OUTSIDE = b"""<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><GetUserResponse><A>&a;</A></GetUserResponse>"""
PARAMETER = b"""<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><GetUserResponse><A>x</A></GetUserResponse>"""


def test_a_good_answer_gives_its_texts_by_path() -> None:
    answer = parse_answer(200, USER)
    assert (answer.code, answer.values["GetUserResult/User/Path"]) == (None, "/")
    assert answer.values["GetUserResult/User/Tags/member/Value"] == "a & b"


def test_of_several_with_one_path_the_first_counts() -> None:
    assert parse_answer(200, USER).values["GetUserResult/User/Arn"] == "arn:aws:iam::123456789012:user/anna"


def test_an_error_gives_its_code_and_message() -> None:
    assert parse_answer(404, REFUSED) == Answer(404, "NoSuchEntity", "It <is> not there.")


def test_an_error_with_a_good_status_is_an_error() -> None:
    assert parse_answer(200, REFUSED).code == "NoSuchEntity"


@pytest.mark.parametrize("status", [201, 301, 302, 403, 500])
def test_only_200_is_good(status: int) -> None:
    assert parse_answer(status, USER).code == ""


@pytest.mark.parametrize("body", [b"", b"<html>", b"Bad Gateway", b"\xff\xfe", b"{}", LAUGHS])
def test_an_error_that_is_no_xml_has_no_code(body: bytes) -> None:
    assert parse_answer(502, body) == Answer(502, "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"ok",
        b"{}",
        USER[:-5],
        USER + USER,
        b"\xff" + USER,
        b"<GetUserResponse>\x00</GetUserResponse>",
        b"<GetUserResponse>&nbsp;</GetUserResponse>",
        b"<GetUserResponse>" + b"<a>" * 100 + b"</a>" * 100 + b"</GetUserResponse>",
        b"<GetUserResponse>" + b" " * MAX_ANSWER_BYTES + b"</GetUserResponse>",
    ],
    ids=range(10),
)
def test_a_good_one_that_cannot_be_read_is_none(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        parse_answer(200, body)


@pytest.mark.parametrize("body", [LAUGHS, QUADRATIC, OUTSIDE, PARAMETER], ids=["laughs", "quadratic", "file", "dtd"])
def test_a_document_type_is_refused_before_it_costs_anything(body: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(UnreadableAnswerError, match="document type"):
        parse_answer(200, body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_answer_prints_none_of_its_texts() -> None:
    assert "anna" not in repr(parse_answer(200, USER))
