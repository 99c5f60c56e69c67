//! The command line of `bizra-api`, and what both programs read the same way.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::config::{Flags, LogFormat, parse_host};

const EXAMPLES: &str = "\
Examples:
  bizra-api                                   serve the embedded demo model on 127.0.0.1:3001
  bizra-api --model qwen2-0_5b-q4_k_m.gguf    serve a GGUF model of your own
  bizra-api --port 0 --data-dir /tmp/node     a second node: own data, any free port

Every key of config/node.toml can also be set as BIZRA_SECTION__KEY, for example
BIZRA_SUPERVISOR__MAX_RESTARTS=10. Flags go before variables, and those before the file.

Exit codes: 0 stopped as asked, 1 failed, 2 wrong usage or configuration.";

/// Runs a sovereign AI node: supervised actors that answer prompts and prove what they did.
#[derive(Debug, Parser)]
#[command(name = "bizra-api", version, after_help = EXAMPLES)]
pub struct NodeArgs {
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_host)]
    host: Option<IpAddr>,
    /// Port to listen on; 0 lets the system choose [default: 3001]
    #[arg(long)]
    port: Option<u16>,
    /// Certificate to serve TLS with: a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key: a PEM file that others cannot read
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve other machines without TLS
    #[arg(long)]
    insecure: bool,
    /// Port for peers; reported, but not opened yet [default: 7946]
    #[arg(long, value_name = "PORT")]
    gossip_port: Option<u16>,
    /// Where keys, the API token and stores live [default: ~/.bizra]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Configuration file; must be there [default: node.toml in the data directory, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// GGUF model to run in this process [default: the embedded demo model]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// How log lines look [default: text on a terminal, JSON elsewhere]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,
}

/// The formats that can be asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

impl NodeArgs {
    /// The configuration file that was named, and what the flags say.
    pub fn into_parts(self) -> (Option<PathBuf>, Flags) {
        let log_format = self.log_format.map(|format| match format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        });
        let flags = Flags {
            host: self.host,
            port: self.port,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            insecure: self.insecure,
            gossip_port: self.gossip_port,
            data_dir: self.data_dir,
            model: self.model,
            log_format,
        };
        (self.config, flags)
    }
}

/// The environment as text. Variables whose name is not UTF-8 are none of ours; in a value, what
/// is not UTF-8 becomes U+FFFD, which the configuration refuses.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    })
}

/// Reads a time such as `200ms`, `60s` or `5m`.
///
/// # Errors
/// When the text is not a whole number and one of these units, or is zero or over a day.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("is not a whole number of ms, s or m, such as 200ms".to_owned()),
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(ms @ 1..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err("is not between 1ms and a day".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(args: &[&str]) -> Result<(Option<PathBuf>, Flags), clap::Error> {
        NodeArgs::try_parse_from([&["bizra-api"], args].concat()).map(NodeArgs::into_parts)
    }

    #[test]
    fn the_command_line_is_consistent() {
        NodeArgs::command().debug_assert();
    }

    #[test]
    fn no_flag_says_nothing() {
        assert_eq!(parse(&[]).unwrap(), (None, Flags::default()));
    }

    #[test]
    fn every_flag_is_read() {
        let (config, flags) = parse(&[
            "--host=localhost",
            "--port=0",
            "--tls-cert=/c.pem",
            "--tls-key=/k.pem",
            "--insecure",
            "--gossip-port=1",
            "--data-dir=/d",
            "--config=/c.toml",
            "--model=/m.gguf",
            "--log-format=json",
        ])
        .unwrap();
        assert_eq!(config, Some("/c.toml".into()));
        let expected = Flags {
            host: Some("127.0.0.1".parse().unwrap()),
            port: Some(0),
            tls_cert: Some("/c.pem".into()),
            tls_key: Some("/k.pem".into()),
            insecure: true,
            gossip_port: Some(1),
            data_dir: Some("/d".into()),
            model: Some("/m.gguf".into()),
            log_format: Some(LogFormat::Json),
        };
        assert_eq!(flags, expected);
    }

    #[test]
    fn a_wrong_value_is_named_and_ends_with_2() {
        for (args, parts) in [
            (["--port", "65536"], ["65536", "--port"]),
            (["--port", "x"], ["'x'", "--port"]),
            (["--host", "not a host"], ["not a host", "--host"]),
            (["--log-format", "xml"], ["xml", "--log-format"]),
            (["--gossip-port", "-1"], ["-1", "-1"]),
            (["--prot", "1"], ["--prot", "--port"]),
        ] {
            let error = parse(&args).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            for part in parts {
                assert!(error.to_string().contains(part), "{part:?} is not in {error}");
            }
        }
    }

    #[test]
    fn help_and_version_end_with_0() {
        for (flag, kind) in
            [("--help", ErrorKind::DisplayHelp), ("--version", ErrorKind::DisplayVersion)]
        {
            let shown = parse(&[flag]).unwrap_err();
            assert_eq!((shown.kind(), shown.exit_code()), (kind, 0));
        }
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "5", "1.5s", "-1s", "1h", "0ms", "2000m", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration("\u{663}s").is_err());
    }
}
