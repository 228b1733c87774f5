//! A strict reader of OpenMetrics text: it panics at whatever the format does not allow.

use std::collections::{BTreeMap, BTreeSet};

/// Name and labels of a series, in order.
pub type Series = (String, BTreeMap<String, String>);

/// What one scrape said.
pub struct Scrape {
    pub text: String,
    pub series: BTreeMap<Series, f64>,
}

impl Scrape {
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the text ends with # EOF");
        let (mut series, mut families) = (BTreeMap::new(), BTreeMap::<String, String>::new());
        let (mut family, mut kind) = (String::new(), String::new());
        for line in body.lines() {
            assert!(!line.is_empty() && line.trim() == line, "{line:?}");
            match line.strip_prefix("# ") {
                Some(about) => {
                    let (word, rest) = about.split_once(' ').unwrap();
                    let (name, said) = rest.split_once(' ').unwrap_or((rest, ""));
                    assert!(is_name(name), "{line}");
                    assert!(!said.is_empty(), "{line}");
                    match word {
                        "TYPE" => {
                            (family, kind) = (name.to_owned(), said.to_owned());
                            assert!(["counter", "gauge", "histogram", "info"].contains(&said), "{line}");
                        }
                        "UNIT" => assert!(name.ends_with(&format!("_{said}")), "{line}"),
                        "HELP" => {
                            let before = families.insert(name.to_owned(), String::new());
                            assert!(before.is_none(), "{name} is described twice");
                        }
                        _ => panic!("{line}"),
                    }
                    if word != "HELP" {
                        assert_eq!(name, family, "{line}");
                        families.insert(name.to_owned(), kind.clone());
                    }
                }
                None => {
                    let (one, value) = sample(line);
                    let ending = one.0.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
                    let allowed: &[&str] = match kind.as_str() {
                        "counter" => &["_total"],
                        "info" => &["_info"],
                        "histogram" => &["_bucket", "_sum", "_count"],
                        _ => &[""],
                    };
                    assert!(allowed.contains(&ending), "{line} in a {kind}");
                    assert!(kind != "counter" || value >= 0.0, "{line}");
                    assert!(series.insert(one, value).is_none(), "twice: {line}");
                }
            }
        }
        assert!(families.values().all(|kind| !kind.is_empty()), "not all have a type: {families:?}");
        let scrape = Scrape { text: text.to_owned(), series };
        scrape.check_histograms();
        scrape
    }

    /// Buckets only grow, and the last holds all.
    fn check_histograms(&self) {
        let mut buckets: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.series {
            if let Some(family) = name.strip_suffix("_bucket") {
                let mut labels = labels.clone();
                let edge = labels.remove("le").expect("a bucket has an edge").replace("+Inf", "inf");
                buckets.entry((family.to_owned(), labels)).or_default().push((edge.parse().unwrap(), *value));
            }
        }
        for ((family, labels), mut edges) in buckets {
            edges.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(edges.is_sorted_by(|a, b| a.1 <= b.1), "{family}{labels:?}: {edges:?}");
            let (last, all) = edges.last().unwrap();
            assert!(last.is_infinite(), "{family} ends at {last}");
            assert_eq!(self.series[&(format!("{family}_count"), labels)], *all, "{family}");
        }
    }

    /// The value of a series; 0 for one that is not there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.series.get(&(name.to_owned(), labels)).copied().unwrap_or(0.0)
    }

    pub fn has(&self, name: &str) -> bool {
        self.series.keys().any(|(found, _)| found == name)
    }

    /// All values of a label, whatever the series.
    pub fn values_of(&self, label: &str) -> BTreeSet<&str> {
        self.series.keys().filter_map(|(_, labels)| labels.get(label)).map(String::as_str).collect()
    }

    pub fn labels(&self) -> BTreeSet<&str> {
        self.series.keys().flat_map(|(_, labels)| labels.keys()).map(String::as_str).collect()
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// `name{label="value",…} number`
fn sample(line: &str) -> (Series, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(key), "{line}");
            let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("{line}"));
            assert!(!value.contains('\\'), "no label of ours needs an escape: {line}");
            assert!(labels.insert(key.to_owned(), value.to_owned()).is_none(), "{line}");
            match after.strip_prefix(',') {
                Some(next) => rest = next,
                None => {
                    rest = after.strip_prefix('}').unwrap_or_else(|| panic!("{line}"));
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    ((name.to_owned(), labels), value)
}
