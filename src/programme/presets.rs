//! Ready rule sets, one a file of `config/presets`: `build.rs` embeds whatever lies there.

use serde::{Deserialize, Serialize};

use super::{FundingRule, LegalBasis, Rules};
use crate::kit::error::{Error, Result};
use crate::kit::object::object;

/// Code and text of each file, in order of code.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// One scheme as its source tells it, ready to be opened once agreements and a territory are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// The name of its file.
    #[serde(skip_deserializing)]
    pub code: String,
    /// In French, as all its texts.
    pub name: String,
    pub summary: String,
    /// Where its figures come from.
    pub source: String,
    /// The paths of what the source does not tell: a guess, or a setting of this program's own.
    pub not_told: Vec<String>,
    /// Whether it takes money in that is the households' own.
    pub holds_peoples_money: bool,
    /// What that means in law.
    pub law_note: Option<String>,
    /// The grounds on which such a scheme may be opened.
    pub legal_bases: Vec<LegalBasis>,
    pub funding_rule: FundingRule,
    #[serde(deserialize_with = "object")]
    pub rules: Rules,
}

/// All of them, in order of code.
pub fn presets() -> Result<Vec<Preset>> {
    FILES.iter().map(|(code, text)| read(code, text)).collect()
}

/// The codes by which they are asked for.
pub fn preset_codes() -> Vec<&'static str> {
    FILES.iter().map(|(code, _)| *code).collect()
}

pub fn preset(code: &str) -> Result<Option<Preset>> {
    FILES.iter().find(|(known, _)| *known == code).map(|(code, text)| read(code, text)).transpose()
}

fn read(code: &str, text: &str) -> Result<Preset> {
    let read: Preset = serde_json::from_str(text).map_err(|e| Error::Internal(format!("preset {code}: {e}")))?;
    Ok(Preset { code: code.to_owned(), ..read })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::error::Fields;

    /// Path by path, what a file really says.
    fn paths(value: &serde_json::Value, at: &str, found: &mut Vec<String>) {
        for (name, inside) in value.as_object().into_iter().flatten() {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            paths(inside, &path, found);
            found.push(path);
        }
    }

    #[test]
    fn every_preset_reads_holds_together_under_its_funding_rule_and_names_its_source() {
        let presets = presets().unwrap();
        assert!(presets.len() >= 15, "{}", presets.len());
        for Preset { code, name, summary, source, rules, funding_rule, legal_bases, .. } in &presets {
            let mut fields = Fields::default();
            rules.check(*funding_rule, &mut fields);
            assert_eq!(fields.settle(), Ok(()), "{code}");
            for (text, least) in [(name, 10), (summary, 40), (source, 60)] {
                assert!(text.chars().count() >= least && !text.contains('\''), "{code}: {text}");
            }
            assert!(!legal_bases.is_empty(), "{code}");
            assert!(preset(code).unwrap().is_some_and(|found| &found.code == code));
        }
        assert_eq!(preset("nowhere"), Ok(None));
    }

    #[test]
    fn what_a_source_does_not_tell_is_named_by_paths_that_the_file_has() {
        for (code, text) in FILES {
            let file: serde_json::Value = serde_json::from_str(text).unwrap();
            let (mut there, preset) = (Vec::new(), preset(code).unwrap().unwrap());
            paths(&file, "", &mut there);
            for path in &preset.not_told {
                assert!(there.contains(path), "{code}: {path}");
            }
            let settings = ["rules.void_window_minutes", "rules.void_grace_days", "rules.show_balance"];
            assert!(settings.iter().all(|path| preset.not_told.iter().any(|named| named == path)), "{code}");
        }
    }

    #[test]
    fn presets_that_hold_people_s_own_money_say_so() {
        for Preset { code, rules, holds_peoples_money, law_note, legal_bases, .. } in presets().unwrap() {
            assert_eq!(holds_peoples_money, rules.needs_pot(), "{code}");
            assert_eq!(holds_peoples_money, law_note.is_some(), "{code}");
            // what people pay in is no support voucher, and such a voucher ends with its year (CGCT R1611-12)
            let voucher = legal_bases.contains(&LegalBasis::PersonalisedSupportVoucher);
            assert!(!voucher || (rules.ends_with_year && !holds_peoples_money), "{code}");
        }
    }
}
