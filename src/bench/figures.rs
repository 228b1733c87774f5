//! What was measured: medians, spreads, ratios against what is aimed at; as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// The values of one thing, a round each, in order.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub what: String,
    pub unit: &'static str,
    pub values: Vec<f64>,
}

impl Series {
    pub fn new(what: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Series { what: what.into(), unit, values }
    }
}

/// What a ratio is to reach.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Aim {
    pub at_least: f64,
    pub stretch: f64,
    /// Whether a larger ratio is the better one.
    pub more: bool,
}

impl Aim {
    pub const fn more(at_least: f64, stretch: f64) -> Option<Self> {
        Some(Aim { at_least, stretch, more: true })
    }

    pub const fn less(at_least: f64, stretch: f64) -> Option<Self> {
        Some(Aim { at_least, stretch, more: false })
    }

    fn verdict(&self, ratio: f64) -> &'static str {
        let reaches = |aim: f64| if self.more { ratio >= aim } else { ratio <= aim };
        match (reaches(self.at_least), reaches(self.stretch)) {
            (_, true) => "stretch",
            (true, false) => "reached",
            (false, false) => "below",
        }
    }
}

/// A median with the least and the most.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Middle {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Middle {
    /// None of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
        Some(Middle { median, least, most })
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub section: &'static str,
    pub name: String,
    pub database: Option<&'static str>,
    pub ours: Series,
    pub ours_middle: Option<Middle>,
    /// What it is divided by, round by round.
    pub base: Option<Series>,
    pub base_middle: Option<Middle>,
    pub ratio: Option<Middle>,
    pub aim: Option<Aim>,
    pub verdict: Option<&'static str>,
}

impl Figure {
    pub fn new(
        section: &'static str,
        name: impl Into<String>,
        database: Option<&'static str>,
        ours: Series,
        base: Option<Series>,
        aim: Option<Aim>,
    ) -> Self {
        let ratios: Vec<f64> = match &base {
            Some(base) => {
                ours.values.iter().zip(&base.values).filter(|(_, b)| **b != 0.0).map(|(a, b)| a / b).collect()
            }
            // a limit on the thing itself
            None if aim.is_some() => ours.values.clone(),
            None => Vec::new(),
        };
        let ratio = Middle::of(&ratios);
        Figure {
            section,
            name: name.into(),
            database,
            ours_middle: Middle::of(&ours.values),
            base_middle: base.as_ref().and_then(|base| Middle::of(&base.values)),
            verdict: aim.zip(ratio).map(|(aim, ratio)| aim.verdict(ratio.median)),
            ours,
            base,
            ratio,
            aim,
        }
    }
}

/// All of one run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Name and value: the machine, versions, settings.
    pub circumstances: Vec<(String, String)>,
    pub figures: Vec<Figure>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// Remarks of the sections: processors, waits, refusals.
    pub notes: Vec<String>,
    /// Every single run of the load, in order.
    pub runs: Vec<serde_json::Value>,
}

impl Report {
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.circumstances {
            let _ = writeln!(text, "{name:<24} {value}");
        }
        let _ = writeln!(
            text,
            "\n{:<98} {:>22} {:>22} {:>22} {:>9} {:>8}  verdict",
            "what", "ours: median (spread)", "against", "ratio (spread)", "at least", "stretch"
        );
        for figure in &self.figures {
            let database = figure.database.map_or(String::new(), |database| format!("{database}: "));
            let (least, stretch) = figure.aim.map_or_else(Default::default, |a| (short(a.at_least), short(a.stretch)));
            let _ = writeln!(
                text,
                "{:<98} {:>22} {:>22} {:>22} {least:>9} {stretch:>8}  {}",
                format!("{database}{}", figure.name),
                shown(figure.ours_middle, figure.ours.unit),
                figure.base.as_ref().map_or(String::new(), |base| shown(figure.base_middle, base.unit)),
                figure.base.as_ref().map_or(String::new(), |_| shown(figure.ratio, "")),
                figure.verdict.unwrap_or_default(),
            );
            if let Some(base) = &figure.base {
                let _ = writeln!(text, "    {} ÷ {}", figure.ours.what, base.what);
            }
        }
        for (head, lines) in [("Left out", &self.skipped), ("Remarks", &self.notes)] {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{head}");
                lines.iter().for_each(|line| text += &format!("- {line}\n"));
            }
        }
        text
    }
}

/// Three digits that mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn shown(middle: Option<Middle>, unit: &str) -> String {
    let Some(Middle { median, least, most }) = middle else { return "-".to_owned() };
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    match least == most {
        true => format!("{}{unit}", short(median)),
        false => format!("{} ({}-{}){unit}", short(median), short(least), short(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round_and_its_median_is_judged() {
        let ours = Series::new("ours", "req/s", vec![30.0, 10.0, 40.0]);
        let base = Series::new("base", "tps", vec![10.0, 10.0, 10.0]);
        let figure = Figure::new("till", "x", None, ours, Some(base), Aim::more(2.3, 3.5));
        let ratio = figure.ratio.unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.most), (3.0, 1.0, 4.0));
        assert_eq!(figure.verdict, Some("reached"));
        let less = Aim::less(25.0, 10.0).unwrap();
        assert_eq!([less.verdict(9.0), less.verdict(20.0), less.verdict(26.0)], ["stretch", "reached", "below"]);
        assert!(Middle::of(&[]).is_none());
        assert_eq!(Middle::of(&[1.0, 3.0]).unwrap().median, 2.0);
    }
}
