//! Documents, attacked.

use super::*;

fn score(value: f64) -> Score {
    Score::try_from(value).unwrap()
}

fn good() -> ConstitutionCheck {
    ConstitutionCheck {
        ihsan: Some(score(0.97)),
        snr: Some(score(0.9)),
        has_signature: true,
        has_provenance: true,
    }
}

fn refusal(text: &str) -> String {
    Constitution::parse("site.toml", text).unwrap_err().to_string()
}

#[test]
fn the_default_document_has_the_published_values() {
    let constitution = Constitution::default();
    assert_eq!(constitution.version(), "1.0.0");
    assert_eq!(constitution.ihsan_threshold(), score(0.95));
    assert_eq!(constitution.document().ihsan.target, score(0.99));
    assert_eq!(constitution.snr_threshold(), score(0.85));
    let ids: Vec<_> = constitution.rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["IHSAN_001", "SNR_001", "CRYPTO_001", "PROV_001", "BFT_001", "HARM_001"]);
    assert_eq!(constitution.harm_ceiling(), score(0.3));
    assert_eq!(constitution.document().autonomy.risk_max, [1.0, 0.9, 0.7, 0.5, 0.3].map(score));
    assert_eq!(constitution.rules()[3].enforcement, Enforcement::Advisory);
}

#[test]
fn the_digest_depends_on_the_values_and_not_on_the_text() {
    let default = Constitution::default();
    let reworded = DEFAULT_TOML.replace("0.85\n", "0.850 # same number\n");
    assert_ne!(reworded, DEFAULT_TOML);
    assert_eq!(Constitution::parse("x", &reworded).unwrap().digest(), default.digest());
    let tightened = DEFAULT_TOML.replace("0.85\n", "0.86\n");
    assert_ne!(Constitution::parse("x", &tightened).unwrap().digest(), default.digest());
    let relaxed = DEFAULT_TOML.replacen("ihsan = \"advisory\"", "ihsan = \"strict\"", 1);
    assert_ne!(Constitution::parse("x", &relaxed).unwrap().digest(), default.digest());
}

#[test]
fn good_facts_are_compliant() {
    assert_eq!(Constitution::default().check(&good()).verdict, Verdict::Compliant);
    let unsourced = ConstitutionCheck { has_provenance: false, ..good() };
    let compliance = Constitution::default().check(&unsourced);
    assert_eq!(compliance.verdict, Verdict::Compliant, "provenance is advisory");
    assert_eq!(compliance.checks[3].passed, Some(false));
}

#[test]
fn a_missing_input_is_never_compliant() {
    let constitution = Constitution::default();
    for facts in [
        ConstitutionCheck { ihsan: None, ..good() },
        ConstitutionCheck { snr: None, ..good() },
        ConstitutionCheck { ihsan: None, snr: None, ..good() },
    ] {
        assert_eq!(constitution.check(&facts).verdict, Verdict::Indeterminate, "{facts:?}");
    }
    let nothing = constitution.check(&ConstitutionCheck::default());
    assert_eq!(nothing.verdict, Verdict::Violation, "the signature is missing for certain");
    assert_eq!(nothing.checks[0].passed, None);
}

#[test]
fn a_strict_rule_broken_is_a_violation_whatever_else_is_missing() {
    let constitution = Constitution::default();
    for facts in [
        ConstitutionCheck { ihsan: Some(score(0.949)), ..good() },
        ConstitutionCheck { snr: Some(score(0.849)), ihsan: None, ..good() },
        ConstitutionCheck { ihsan: Some(score(0.1)), snr: None, ..good() },
        ConstitutionCheck { has_signature: false, ..good() },
    ] {
        assert_eq!(constitution.check(&facts).verdict, Verdict::Violation, "{facts:?}");
    }
}

#[test]
fn a_document_about_proposals_only_finds_nothing_compliant() {
    let other = |target: &str| DEFAULT_TOML.replace(target, "target = \"proposal\"");
    let text = other("target = \"output\"").replace("\"envelope\"", "\"proposal\"");
    assert!(text.contains("target = \"message\""), "which no facts are judged by");
    let constitution = Constitution::parse("x", &text).unwrap();
    assert_eq!(constitution.check(&good()).verdict, Verdict::Indeterminate);
}

#[test]
fn unknown_missing_and_mistyped_keys_are_refused_with_file_and_key() {
    let unknown = refusal(&format!("{DEFAULT_TOML}\n[extra]\nkey = 1\n"));
    assert!(unknown.contains("site.toml") && unknown.contains("extra"), "{unknown}");
    let missing = refusal(&DEFAULT_TOML.replace("target = 0.99", ""));
    assert!(missing.contains("target"), "{missing}");
    let mistyped = refusal(&DEFAULT_TOML.replace("\"1.0.0\"", "1"));
    assert!(mistyped.contains("version"), "{mistyped}");
    let word = refusal(&DEFAULT_TOML.replace("\"monitoring\"", "x").replace("advisory", "lax"));
    assert!(word.contains("lax") && word.contains("strict"), "{word}");
    assert!(refusal("").contains("version"));
    assert!(refusal(&" ".repeat(DOCUMENT_BYTES_MAX + 1)).contains("at most"));
}

#[test]
fn bad_values_are_refused_with_file_key_and_reason() {
    let cases = [
        ("threshold = 0.85", "threshold = nan", "finite"),
        ("threshold = 0.85", "threshold = 1.5", "between 0 and 1"),
        ("threshold = 0.85", "threshold = -0.0", "between 0 and 1"),
        ("threshold = 0.85", "threshold = inf", "finite"),
        ("\"1.0.0\"", "\"1.0\"", "version: "),
        ("\"1.0.0\"", "\"1.0.x\"", "version: "),
        ("target = 0.99", "target = 0.9", "ihsan.target: "),
        ("\"SNR_001\"", "\"IHSAN_001\"", "rules[1].id: "),
        ("\"SNR_001\"", "\"snr 1\"", "rules[1].id: "),
        ("name = \"Excellence\"", "name = \"\"", "rules[0].name: "),
        ("kind = \"none\"", "kind = \"cooldown\", seconds = 0", "rules[3].penalty.seconds: "),
        ("kind = \"none\"", "kind = \"trust\", amount = 0.0", "rules[3].penalty.amount: "),
        ("kind = \"none\"", "kind = \"exile\"", "exile"),
        ("schema = \"strict\"", "schema = \"advisory\"", "profiles.check.gates.schema: "),
        ("snr = \"strict\" }", "harm = \"strict\" }", "profiles.check.gates: lacks snr"),
        ("snr = \"strict\" }", "snr = \"strict\", rate = \"strict\" }", "has rate, which"),
        ("rate = \"strict\"\n", "", "profiles.peer-message.gates: lacks rate"),
        ("[\"safety\"]", "[\"safety\", \"safety\"]", "profiles.check.must_verify: "),
        ("[\"safety\"]", "[\"beauty\"]", "beauty"),
        ("0.9, 0.7", "0.7, 0.9", "autonomy.risk_max: "),
        ("ceiling = 0.3", "ceiling = 0.2", "rules[5].threshold: "),
    ];
    let is_key = |line: &&str| !line.starts_with('#');
    let plain = DEFAULT_TOML.lines().filter(is_key).collect::<Vec<_>>().join("\n");
    for (from, to, expected) in cases {
        let text = plain.replacen(from, to, 1);
        assert_ne!(text, plain, "{from}");
        let said = refusal(&text);
        assert!(said.starts_with("site.toml: ") && said.contains(expected), "{to}: {said}");
    }
}

#[test]
fn only_a_higher_version_may_follow() {
    let default = Constitution::default();
    let other = |version: &str, snr: &str| {
        let text = DEFAULT_TOML.replace("\"1.0.0\"", &format!("\"{version}\""));
        Constitution::parse("x", &text.replace("0.85\n", &format!("{snr}\n"))).unwrap()
    };
    for (version, snr, may_follow) in [
        ("1.0.0", "0.850", true),
        ("1.0.0", "0.86", false),
        ("0.9.9", "0.86", false),
        ("1.0.1", "0.86", true),
        ("1.0.1", "0.85", true),
        ("2.0.0", "0.86", true),
        ("1.10.0", "0.86", true),
    ] {
        let follows = other(version, snr).succeeds(&default, "site.toml");
        assert_eq!(follows.is_ok(), may_follow, "{version} {snr}: {follows:?}");
    }
    let ten = other("1.10.0", "0.86");
    let error = other("1.9.0", "0.87").succeeds(&ten, "site.toml").unwrap_err().to_string();
    assert_eq!(error, "site.toml: version: is 1.9.0; a changed document has one above 1.10.0");
}

#[test]
fn only_strict_rules_about_what_was_judged_punish() {
    let constitution = Constitution::default();
    let penalties = |constitution: &Constitution, profile, gate| {
        constitution.penalties(profile, gate).collect::<Vec<_>>()
    };
    let trust = Penalty::Trust { amount: score(0.25) };
    assert_eq!(penalties(&constitution, Profile::PeerMessage, Gate::Harm), [trust]);
    assert_eq!(penalties(&constitution, Profile::InferenceOutput, Gate::Ihsan), [Penalty::Reject]);
    for (profile, gate) in [
        (Profile::Check, Gate::Harm),
        (Profile::PeerMessage, Gate::Ihsan),
        (Profile::PeerMessage, Gate::Rate),
        (Profile::Proposal, Gate::Harm),
    ] {
        assert_eq!(penalties(&constitution, profile, gate), [], "{profile:?} {gate:?}");
    }
    let at = DEFAULT_TOML.find("HARM_001").unwrap();
    let (before, after) = DEFAULT_TOML.split_at(at);
    let text = format!("{before}{}", after.replacen("\"strict\"", "\"advisory\"", 1));
    let advisory = Constitution::parse("x", &text).unwrap();
    assert_eq!(penalties(&advisory, Profile::PeerMessage, Gate::Harm), []);
}

#[test]
fn a_document_that_contradicts_itself_is_refused() {
    let said = refusal(&DEFAULT_TOML.replacen("threshold = 0.95", "threshold = 0.9", 1));
    assert!(said.contains("rules[0].threshold: ") && said.contains("0.9"), "{said}");
}

#[test]
fn votes_are_judged_by_the_strict_rules_about_proposals() {
    let constitution = Constitution::default();
    for (votes, validators, broken) in
        [(1, 1, None), (3, 4, None), (2, 3, Some("BFT_001")), (0, 1, Some("BFT_001"))]
    {
        let rule = constitution.broken_by_votes(votes, validators).map(|rule| rule.id.as_str());
        assert_eq!(rule, broken, "{votes} of {validators}");
    }
}
