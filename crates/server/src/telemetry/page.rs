//! Prometheus' text form: metrics in the order they are written, each introduced once.

use std::fmt::{Display, Write as _};

use fanfare_hub::measures::HistogramReading;

use super::metrics::{Kind, Metric};

/// The content type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    introduced: Option<&'static str>,
}

impl Page {
    /// One number of a series; `labels` are the values of the metric's labels, in their order.
    pub(super) fn number(&mut self, metric: &Metric, labels: &[&str], value: impl Display) {
        self.introduce(metric);
        self.line(metric, "", labels, None, value);
    }

    /// One histogram of a series, in microseconds when the metric's unit is seconds.
    pub(super) fn histogram(&mut self, metric: &Metric, labels: &[&str], read: &HistogramReading) {
        self.introduce(metric);
        let shown = |value: u64| match metric.unit() {
            "seconds" => (value as f64 / 1_000_000.0).to_string(),
            _ => value.to_string(),
        };
        for (bound, count) in &read.below {
            self.line(metric, "_bucket", labels, Some(&shown(*bound)), count);
        }
        self.line(metric, "_bucket", labels, Some("+Inf"), read.count);
        self.line(metric, "_sum", labels, None, shown(read.sum));
        self.line(metric, "_count", labels, None, read.count);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn introduce(&mut self, metric: &Metric) {
        if self.introduced == Some(metric.name()) {
            return;
        }
        self.introduced = Some(metric.name());
        let kind = match metric.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let (name, meaning) = (metric.name(), metric.meaning().trim());
        self.write(format_args!(
            "# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
        ));
    }

    fn line(
        &mut self,
        metric: &Metric,
        suffix: &str,
        labels: &[&str],
        bound: Option<&str>,
        value: impl Display,
    ) {
        debug_assert_eq!(labels.len(), metric.labels().len(), "{}", metric.name());
        self.write(format_args!("{}{suffix}", metric.name()));
        let named = metric.labels().iter().copied().zip(labels.iter().copied());
        let mut mark = '{';
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.write(format_args!("{mark}{name}=\"{}\"", escaped(value)));
            mark = ',';
        }
        let close = if mark == ',' { "}" } else { "" };
        self.write(format_args!("{close} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("text can be written");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{super::metrics, *};

    #[test]
    fn a_page_introduces_each_metric_once_and_ranges_add_up() {
        let mut page = Page::default();
        page.number(&metrics::CONNECTIONS, &["https"], 3);
        page.number(&metrics::CONNECTIONS, &["a\"b\\"], 4);
        let read = HistogramReading {
            below: vec![(500, 1), (2_500_000, 3)],
            count: 4,
            sum: 70_000_000,
        };
        page.histogram(&metrics::COMMIT_TIME, &[], &read);
        let text = page.finish();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with("# HELP"))
            .collect();
        assert_eq!(
            lines,
            [
                "# TYPE fanfare_connections gauge",
                "fanfare_connections{front_end=\"https\"} 3",
                "fanfare_connections{front_end=\"a\\\"b\\\\\"} 4",
                "# TYPE fanfare_store_commit_seconds histogram",
                "fanfare_store_commit_seconds_bucket{le=\"0.0005\"} 1",
                "fanfare_store_commit_seconds_bucket{le=\"2.5\"} 3",
                "fanfare_store_commit_seconds_bucket{le=\"+Inf\"} 4",
                "fanfare_store_commit_seconds_sum 70",
                "fanfare_store_commit_seconds_count 4",
            ]
        );
    }
}
