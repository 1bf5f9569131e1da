"""The tokenizer reads any word, in capitals or not, and is made once for a folder."""

from longlive.storybook.generator import StorybookModel, storybook_config
from longlive.storybook.vocabulary import TEXT_LEN, new_tokenizer, tokenizer_of
from longlive.weights.loading import load_models


def test_the_tokenizer_reads_any_word_and_small_and_capital_letters_alike():
    tokenizer = new_tokenizer(num_captions=300, vocab_size=250)
    one, two = (tokenizer(text)["input_ids"] for text in ("A Red Ball", "a red ball"))
    assert one == two
    unknown = tokenizer("xylophone zeppelin", padding="max_length", max_length=TEXT_LEN, truncation=True)
    assert tokenizer.unk_token_id not in unknown["input_ids"] and len(unknown["input_ids"]) == TEXT_LEN


def test_the_tokenizer_of_a_folder_is_made_once(tmp_path):
    one = tokenizer_of(tmp_path, 0)
    assert tokenizer_of(tmp_path, 1).get_vocab() == one.get_vocab()
    assert len(one) == len(load_models("storybook").text_encoder.tokenizer)
    StorybookModel(storybook_config(), len(one))
