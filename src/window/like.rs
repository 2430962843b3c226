//! `LIKE`: `%` stands for any run of characters, `_` for exactly one, everything else for itself.

/// Whether the pattern fits the whole text.
///
/// Only the last `%` is ever tried again: what stands before it has found its earliest place, and a later one could
/// not help what follows. So the time is at most text × pattern, and no text makes it explode.
#[must_use]
pub fn like(text: &str, pattern: &str) -> bool {
    let (mut text, mut pattern) = (text, pattern);
    // What to go on with after the last `%`: the pattern behind it, and the text from which it has not failed yet.
    let mut again: Option<(&str, &str)> = None;
    loop {
        let (wanted, behind) = split(pattern);
        let (found, rest) = split(text);
        match (wanted, found) {
            (Some('%'), _) => {
                again = Some((behind, text));
                pattern = behind;
            }
            (Some(wanted), Some(found)) if wanted == '_' || wanted == found => (text, pattern) = (rest, behind),
            (None, None) => return true,
            _ => {
                let Some((behind, from)) = again else { return false };
                let (Some(_), from) = split(from) else { return false };
                again = Some((behind, from));
                (text, pattern) = (from, behind);
            }
        }
    }
}

fn split(text: &str) -> (Option<char>, &str) {
    let mut chars = text.chars();
    (chars.next(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_any_run_and_underscore_one_character() {
        for (text, pattern, fits) in [
            ("", "", true),
            ("", "%", true),
            ("", "_", false),
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("abc", "a%", true),
            ("abc", "%c", true),
            ("abc", "%b%", true),
            ("abc", "a_c", true),
            ("abc", "a__c", false),
            ("abcabd", "%ab_", true),
            ("abcabd", "ab%d%", true),
            ("ABC", "abc", false),
            ("plant/β/temp", "plant/_/temp", true),
            ("βγ", "_", false),
            ("50%", "50%%", true),
        ] {
            assert_eq!(like(text, pattern), fits, "{text} LIKE {pattern}");
        }
    }

    #[test]
    fn it_agrees_with_the_definition_on_random_words() {
        fn slow(text: &[char], pattern: &[char]) -> bool {
            match pattern {
                [] => text.is_empty(),
                ['%', rest @ ..] => (0..=text.len()).any(|from| slow(&text[from..], rest)),
                ['_', rest @ ..] => !text.is_empty() && slow(&text[1..], rest),
                [c, rest @ ..] => text.first() == Some(c) && slow(&text[1..], rest),
            }
        }
        let mut random = fastrand::Rng::with_seed(7);
        let mut word = |alphabet: &[char], most: usize| -> Vec<char> {
            (0..random.usize(..=most)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
        };
        let mut fitted = 0;
        for _ in 0..20_000 {
            let (text, pattern) = (word(&['a', 'é'], 7), word(&['a', 'é', '%', '_'], 6));
            let expected = slow(&text, &pattern);
            let (text, pattern): (String, String) = (text.iter().collect(), pattern.iter().collect());
            assert_eq!(like(&text, &pattern), expected, "{text} LIKE {pattern}");
            fitted += usize::from(expected);
        }
        assert!((2_000..18_000).contains(&fitted), "{fitted} fitted: the words say little");
    }

    #[test]
    fn a_pattern_made_to_explode_does_not() {
        let text = "a".repeat(20_000);
        assert!(!like(&text, &format!("{}b", "%a".repeat(30))));
    }
}
