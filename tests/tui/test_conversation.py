"""What the model sees of a conversation."""

from localllm.tui.conversation import Conversation
from localllm.types import Message


def test_a_request_holds_the_system_prompt_and_every_turn() -> None:
    conversation = Conversation("Be brief.")
    conversation.ask("one?").answer = "1"
    conversation.ask("two?")
    assert conversation.request().messages == (
        Message("system", "Be brief."),
        Message("user", "one?"),
        Message("assistant", "1"),
        Message("user", "two?"),
    )


def test_no_system_prompt_is_no_message() -> None:
    conversation = Conversation()
    conversation.ask("hi")
    assert conversation.request().messages == (Message("user", "hi"),)


def test_nothing_but_messages_is_asked_for() -> None:
    conversation = Conversation()
    conversation.ask("hi")
    assert conversation.request().sampling.chosen() == {}
    assert conversation.request().model is None


def test_a_question_without_an_answer_is_not_sent_again() -> None:
    conversation = Conversation()
    conversation.ask("too long")
    conversation.ask("blank").answer = " \n"
    conversation.ask("short")
    assert conversation.request().messages == (Message("user", "short"),)


def test_asking_again_forgets_the_answer() -> None:
    conversation = Conversation()
    first = conversation.ask("q")
    first.answer = "bad"
    again = conversation.ask_again()
    assert (again.question, again.answer) == ("q", "")
    assert conversation.exchanges == [again]
    first.answer += " and late"
    assert again.answer == ""


def test_a_retry_without_a_word_takes_no_answers_place() -> None:
    conversation = Conversation()
    conversation.ask("q").answer = "good"
    conversation.ask_again()
    conversation.ask_again()
    assert conversation.last_answer == "good"
    conversation.ask("next")
    assert conversation.request().messages == (
        Message("user", "q"),
        Message("assistant", "good"),
        Message("user", "next"),
    )


def test_the_last_answer_is_the_latest_with_text() -> None:
    conversation = Conversation()
    assert conversation.last_answer == ""
    conversation.ask("one?").answer = "1"
    conversation.ask("two?")
    assert conversation.last_answer == "1"
