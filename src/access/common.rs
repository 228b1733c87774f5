//! What makes a password easy to guess, however long it is.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::kit::complaint::Complaint;
use crate::kit::text::fold;

/// Our own selection; its head says how it was made.
const LIST: &str = include_str!("../../config/common-passwords.txt");

static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect());

/// Letters and digits in the order of the alphabet, of counting, and of keyboards, there and (reversed) back.
const ROWS: [&str; 8] = [
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "azertyuiopqsdfghjklmwxcvbn",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "aqwzsxedcrfvtgbyhnujikolpm",
    "qazwsxedcrfvtgbyhnujmikolp",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
];

/// Why a password is too easy to guess.
pub(super) fn objection(password: &str) -> Option<Complaint> {
    let folded = fold(password);
    let word = folded.trim_matches(|c: char| c.is_ascii_digit());
    if COMMON.contains(folded.as_str()) || COMMON.contains(word) {
        Some(Complaint::CommonPassword)
    } else if folded.contains("primeur") {
        Some(Complaint::PasswordNamesService)
    } else if folded.is_empty() || is_monotonous(&folded) || is_repeated(&folded) || is_a_run(&folded) {
        Some(Complaint::PatternPassword)
    } else {
        None
    }
}

/// Whether a password is built on the name in an e-mail address; a name of fewer than four characters may stand in any.
pub(super) fn contains_login(password: &str, email: &str) -> bool {
    let name = fold(email.split('@').next().unwrap_or(""));
    name.chars().count() >= 4 && fold(password).contains(&name)
}

/// Four different characters at most.
fn is_monotonous(text: &str) -> bool {
    text.chars().collect::<HashSet<_>>().len() < 5
}

/// One word over and over, whole or cut at the end.
fn is_repeated(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=chars.len() / 2).any(|period| chars[period..].iter().zip(&chars).all(|(here, before)| here == before))
}

/// Pieces of rows of four characters or more on average: `azertyuiop123`, `123456789012`, `112233445566`.
fn is_a_run(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    // from a place on, how many steps stay or go on in a row, all in one direction
    let steps = |from: usize, row: &str, back: bool| {
        let on = |pair: &&[char]| {
            let two: String = if back { pair.iter().rev().collect() } else { pair.iter().collect() };
            pair[0] == pair[1] || row.contains(&two)
        };
        chars[from..].windows(2).take_while(on).count()
    };
    let (mut pieces, mut from) = (0, 0);
    while from < chars.len() {
        let longest = ROWS.iter().flat_map(|row| [steps(from, row, false), steps(from, row, true)]).max();
        from += 1 + longest.unwrap_or(0);
        pieces += 1;
    }
    chars.len() >= 4 * pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_written_as_it_is_compared() {
        assert!(COMMON.len() > 300);
        for line in COMMON.iter() {
            assert_eq!(fold(line), *line);
        }
        let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        assert_eq!(lines, COMMON.len(), "a word is there twice");
    }

    #[test]
    fn the_commonest_are_refused_however_they_are_dressed_up() {
        for common in [
            "motdepasse123",
            "MotDePasse2026!",
            "Mot de passe 1 !",
            "password1234",
            "Passw0rd2026",
            "azertyuiop123",
            "jesuisunmotdepasse",
            "Je suis un mot de passe",
            "correct horse battery staple",
            "1q2w3e4r5t6y",
            "iloveyou2024!",
            "2024Soleil2024",
            "Bienvenue-2026",
            "Liberté, égalité, fraternité",
        ] {
            assert_eq!(objection(common), Some(Complaint::CommonPassword), "{common}");
        }
        for own in ["primeur-2026-abc", "J'aime PRIMEUR beaucoup"] {
            assert_eq!(objection(own), Some(Complaint::PasswordNamesService));
        }
    }

    #[test]
    fn trivial_structure_is_refused() {
        for trivial in [
            "aaaaaaaaaaaa",
            "éééééééééééé",
            "abababababab",
            "            ",
            "!!!!????!!!!",
            "123456789012",
            "987654321098",
            "abcdefghijkl",
            "zyxwvutsrqpo",
            "1234azertyuiop",
            "poirepoirepoire",
            "poire poire poi",
            "qsdfghjklm1234",
            "112233445566",
            "1qaz2wsx3edc4rfv",
        ] {
            assert!(objection(trivial).is_some(), "{trivial}");
        }
    }

    #[test]
    fn what_a_person_makes_up_is_taken() {
        for good in [
            "des pommes et des poires",
            "cheque-en-bois",
            "douze poireaux et un panais",
            "une phrase de passe à moi",
            "un autre mot de passe",
            "kX7-vq2!mR9w",
            "le tracteur bleu de Lucie",
            "été comme hiver",
        ] {
            assert_eq!(objection(good), None, "{good}");
        }
    }

    #[test]
    fn the_name_of_the_login_does_not_belong_in_its_password() {
        for password in ["camille.vasseur-62", "XX Camille Vasseur XX", "CAMILLEVASSEUR12", "Çàmïlle Vâssëur 62"] {
            assert!(contains_login(password, "camille.vasseur@trois-vallees.example"), "{password}");
        }
        assert!(!contains_login("camille et ses poireaux", "camille.vasseur@trois-vallees.example"));
        assert!(!contains_login("des poires et des lions", "lio@trois-vallees.example"));
    }
}
