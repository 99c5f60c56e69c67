//! How many tokens a text has, where whoever generated it does not say. Always marked as a guess.

use crate::domain::inference::InferenceRequest;

/// Bytes of one token of English text, and of most others, in the vocabularies in use.
const TOKEN_BYTES: usize = 4;

/// Tokens of the prompt and of all that goes before it.
pub fn prompt_tokens(request: &InferenceRequest) -> usize {
    request.messages().map(|message| text_tokens(message.text)).sum()
}

/// Tokens of an answer that came in so many pieces. Most servers send one token in a piece; one that
/// sends more is told by their length.
pub fn answer_tokens(text: &str, pieces: usize) -> usize {
    pieces.max(text_tokens(text)).min(text.len())
}

fn text_tokens(text: &str) -> usize {
    text.len().div_ceil(TOKEN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_between_nothing_and_a_token_for_each_byte() {
        for (text, pieces, tokens) in
            [("", 0, 0), ("a", 1, 1), ("abcdefgh", 1, 2), ("abcdefgh", 5, 5), ("ab", 9, 2)]
        {
            assert_eq!(answer_tokens(text, pieces), tokens, "{text} in {pieces}");
        }
    }
}
