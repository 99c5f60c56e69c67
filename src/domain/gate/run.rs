//! A run of the gates of a profile.

use std::time::Duration;

use serde_json::json;

use crate::domain::constitution::Constitution;
use crate::domain::constitution::document::Enforcement;
use crate::domain::digest::domain_separated_digest;
use crate::domain::fate::{self, Bounds, Scorer};
use crate::domain::gate::measure::{Measures, Overdue, Stopwatch};
use crate::domain::gate::{
    CONTENT_BYTES_MAX, ContentType, Evidence, Facts, GateInput, Receipt, Surroundings, Verdict,
};
use crate::domain::harm;
use crate::domain::ihsan::{self, Assessment, Dimension, Shortfall};
use crate::domain::json;
use crate::domain::profile::{Gate, Profile};
use crate::domain::reject::RejectCode;
use crate::domain::score::{Score, Source, combine};
use crate::domain::snr;

/// Content that is read so quickly that no clock need be read.
const QUICK_BYTES_MAX: usize = 16 * 1024;

/// Runs the gates of `profile` over `input`. `clock` tells the time since some fixed moment; it is
/// read where a gate may take long, and a gate that exceeds the limit of its tier is given up.
pub fn run(
    constitution: &Constitution,
    profile: Profile,
    input: GateInput,
    around: &Surroundings,
    mut clock: impl FnMut() -> Duration,
) -> Receipt {
    judge(constitution, profile, input, around, &mut clock, |_, _| ())
}

/// As [`run`], and notes how long each gate took. Reading a clock takes as long as a gate over
/// given scores, hence two functions.
pub fn run_timed(
    constitution: &Constitution,
    profile: Profile,
    input: GateInput,
    around: &Surroundings,
    mut clock: impl FnMut() -> Duration,
) -> Receipt {
    let mut before = clock();
    judge(constitution, profile, input, around, &mut clock, |receipt, clock| {
        let now = clock();
        receipt.took(now.saturating_sub(before));
        before = now;
    })
}

fn judge(
    constitution: &Constitution,
    profile: Profile,
    input: GateInput,
    around: &Surroundings,
    clock: &mut dyn FnMut() -> Duration,
    mut after: impl FnMut(&mut Receipt, &mut dyn FnMut() -> Duration),
) -> Receipt {
    let mut receipt = Receipt::open(profile, constitution.digest());
    let unknown = Facts::default();
    let facts = input.facts.as_deref().unwrap_or(&unknown);
    let measures = Measures::new(&input, facts);
    let mut run = Run { constitution, profile, input: &input, facts, around, measures };
    for gate in profile.gates() {
        let mut watch = Stopwatch::new(&mut *clock, gate.tier(input.content.len()));
        let verdict = run.verdict(*gate, &mut watch);
        let is_final = receipt.push(verdict);
        after(&mut receipt, &mut *clock);
        if is_final {
            break;
        }
    }
    receipt.of(input.content)
}

/// What the gates of one run have in common.
struct Run<'i> {
    constitution: &'i Constitution,
    profile: Profile,
    input: &'i GateInput,
    facts: &'i Facts,
    around: &'i Surroundings,
    measures: Measures<'i>,
}

impl Run<'_> {
    fn verdict(&mut self, gate: Gate, watch: &mut Stopwatch<'_>) -> Verdict {
        let judged = match gate {
            Gate::Schema => self.schema(watch),
            Gate::Signature => Ok(self.signature()),
            Gate::Rate => Ok(self.rate()),
            Gate::Harm => self.harm(watch),
            Gate::Ihsan => self.ihsan(watch),
            Gate::Snr => self.snr(watch),
            Gate::Fate => self.fate(watch),
        };
        judged.unwrap_or_else(|Overdue| {
            let limit = gate.tier(self.input.content.len()).limit();
            let fault =
                format!("the {} gate took more than {} ms", gate.as_str(), limit.as_millis());
            let code = Some(RejectCode::RejectTimeout);
            let evidence = Some(Evidence::Fault(fault));
            Verdict { code, evidence, source: Source::Unavailable, ..self.open(gate) }
        })
    }

    /// A verdict that found nothing yet, which is not a pass.
    fn open(&self, gate: Gate) -> Verdict {
        Verdict {
            gate,
            passed: false,
            code: None,
            score: None,
            threshold: None,
            source: Source::Measured,
            enforcement: self.constitution.enforcement(self.profile, gate),
            evidence: None,
        }
    }

    /// The verdict on something that was found, by comparison or by looking.
    fn found(&self, gate: Gate, passed: bool, evidence: Option<Evidence>) -> Verdict {
        let code = (!passed).then_some(code(gate));
        Verdict { passed, code, evidence, ..self.open(gate) }
    }

    fn is_strict(&self, gate: Gate) -> bool {
        self.constitution.enforcement(self.profile, gate) == Enforcement::Strict
    }

    /// Whether the content can be read.
    fn schema(&self, watch: &mut Stopwatch<'_>) -> Result<Verdict, Overdue> {
        let content = &self.input.content;
        let is_quick = content.len() <= QUICK_BYTES_MAX;
        if content.len() > CONTENT_BYTES_MAX {
            let fault = format!("the content has more than {CONTENT_BYTES_MAX} bytes");
            return Ok(self.found(Gate::Schema, false, Some(Evidence::Fault(fault))));
        }
        if !is_quick && watch.is_over() {
            return Err(Overdue);
        }
        let fault = match self.input.content_type {
            ContentType::Text => {
                self.measures.utf8().err().map(|error| format!("the content is not UTF-8: {error}"))
            }
            ContentType::Json => json::validate(content)
                .err()
                .map(|error| format!("the content is not I-JSON: {error}")),
        };
        if !is_quick && watch.is_over() {
            return Err(Overdue);
        }
        Ok(self.found(Gate::Schema, fault.is_none(), fault.map(Evidence::Fault)))
    }

    /// Whether somebody signed it. Who fills in the facts has verified the signature.
    fn signature(&self) -> Verdict {
        let is_signed = self.facts.sender.is_some();
        let fault = || Evidence::Fault("nobody is known to have signed the content".into());
        self.found(Gate::Signature, is_signed, (!is_signed).then(fault))
    }

    /// Whether anything is taken from the sender at present.
    fn rate(&self) -> Verdict {
        if self.facts.sender.is_none() {
            let fault = "the sender is not known, so its standing is not";
            return self.found(Gate::Rate, false, Some(Evidence::Fault(fault.into())));
        }
        let terms = &self.constitution.document().trust;
        let Surroundings { now_ms, standing, .. } = self.around;
        let refusal = standing.refusal(*now_ms, terms);
        Verdict {
            score: Some(standing.trust_at(*now_ms, terms)),
            threshold: Some(terms.minimum),
            ..self.found(Gate::Rate, refusal.is_none(), refusal.map(Evidence::Standing))
        }
    }

    /// Whether the harm found is at most the ceiling.
    fn harm(&mut self, watch: &mut Stopwatch<'_>) -> Result<Verdict, Overdue> {
        let ceiling = self.constitution.harm_ceiling();
        let harm = self.measures.harm(watch)?.clone();
        let value = harm.value();
        // Nothing found is the rule, and needs no evidence.
        let evidence = (value > Score::ZERO).then_some(Evidence::Harm(Box::new(harm)));
        Ok(Verdict {
            score: Some(value),
            threshold: Some(ceiling),
            ..self.found(Gate::Harm, value <= ceiling, evidence)
        })
    }

    /// Whether the excellence score, measured or claimed, is high enough. Harm above the ceiling is
    /// a veto whatever the score.
    fn ihsan(&mut self, watch: &mut Stopwatch<'_>) -> Result<Verdict, Overdue> {
        let ceiling = self.constitution.harm_ceiling();
        let threshold = Some(self.constitution.ihsan_threshold());
        let harm = self.measures.harm(watch)?;
        if harm.value() > ceiling {
            let evidence = Some(Evidence::Veto(Box::new(harm.clone())));
            return Ok(Verdict { threshold, ..self.found(Gate::Ihsan, false, evidence) });
        }
        if self.input.facts.is_none() && harm.value() == Score::ZERO {
            let measured = self.constitution.harmless(self.profile);
            return Ok(self.score(Gate::Ihsan, threshold, measured, Some(Evidence::Safety)));
        }
        let (assessment, reading) = self.reading(watch)?;
        let (measured, shortfall) = match reading {
            Ok(score) => (Some(score), None),
            Err(shortfall) => (None, Some(Box::new(shortfall))),
        };
        let evidence = Evidence::Ihsan(Box::new(assessment), shortfall);
        Ok(self.score(Gate::Ihsan, threshold, measured, Some(evidence)))
    }

    /// Every dimension of Ihsan, and the score if the profile lets it count as measured.
    fn reading(
        &mut self,
        watch: &mut Stopwatch<'_>,
    ) -> Result<(Assessment, Result<Score, Shortfall>), Overdue> {
        let terms = self.constitution.terms(self.profile);
        let assessment = self.measures.ihsan(watch)?;
        let reading = assessment.reading(&terms.must_verify, terms.coverage_min);
        Ok((assessment, reading))
    }

    /// Whether the signal-to-noise score, measured or claimed, is high enough.
    fn snr(&self, watch: &mut Stopwatch<'_>) -> Result<Verdict, Overdue> {
        let threshold = Some(self.constitution.snr_threshold());
        let (measured, evidence) = match self.measures.snr(watch)? {
            Ok(snr) => (Some(snr.score), Evidence::Snr(Box::new(snr))),
            Err(unmeasured) => (None, Evidence::Unmeasured(unmeasured)),
        };
        Ok(self.score(Gate::Snr, threshold, measured, Some(evidence)))
    }

    /// Whether the four predicates hold over what is known and what was measured.
    fn fate(&mut self, watch: &mut Stopwatch<'_>) -> Result<Verdict, Overdue> {
        let Some(action) = &self.facts.action else {
            let fault = "it is not known what would be done with the content";
            return Ok(self.found(Gate::Fate, false, Some(Evidence::Fault(fault.into()))));
        };
        let (assessment, reading) = self.reading(watch)?;
        let harm = self.measures.harm(watch)?;
        let evidence = json!({ "harm": harm.evidence(), "ihsan": assessment.evidence() });
        // What the detectors and verifiers write has a canonical form.
        let evidence = json::canonical(&evidence).ok();
        let scorers = [
            Scorer { name: harm::DETECTOR, version: harm::VERSION },
            Scorer { name: ihsan::SCORER, version: ihsan::VERSION },
            Scorer { name: snr::SCORER, version: snr::version() },
        ];
        let facts = fate::Facts {
            intent_declared: action.intent_declared,
            intent_of_output: action.intent_of_output,
            contract_holds: assessment.value(Dimension::Correctness).map(|it| it == Score::ONE),
            signer: action.signer,
            known_keys: action.known_keys.as_deref(),
            receipt_ready: action.receipt_ready,
            inputs: action.inputs,
            model: action.model.as_deref(),
            scorers: Some(&scorers),
            evidence: evidence.map(|evidence| domain_separated_digest(&evidence)),
            harm: Some(harm.value()),
            ihsan: reading.ok(),
            cost: action.cost,
            cost_max: action.cost_max,
            autonomy: action.autonomy,
            // Whatever is done with it, the harm in it can be done.
            risk: Some(action.risk.unwrap_or(Score::ZERO).max(harm.value())),
            is_reversible: action.is_reversible,
            approval: action.approval.as_ref(),
        };
        let document = self.constitution.document();
        let certificate = fate::decide(
            &facts,
            &Bounds {
                harm_max: document.harm.ceiling,
                ihsan_min: document.ihsan.threshold,
                risk_max: document.autonomy.risk_max,
                approval_above: document.autonomy.approval_above,
            },
        );
        Ok(self.found(Gate::Fate, certificate.holds(), Some(Evidence::Fate(Box::new(certificate)))))
    }

    /// The verdict of a gate over a score: what was measured, or what is claimed, or the lower of
    /// both.
    fn score(
        &self,
        gate: Gate,
        threshold: Option<Score>,
        measured: Option<Score>,
        evidence: Option<Evidence>,
    ) -> Verdict {
        let claim = match gate {
            Gate::Snr => self.input.snr_claim,
            _ => self.input.ihsan_claim,
        };
        let reading = combine(measured, claim);
        let passed = reading.score.is_some() && reading.score >= threshold;
        // Without a score nothing was found wrong; a strict gate refuses all the same.
        let is_wrong = !passed && (self.is_strict(gate) || reading.score.is_some());
        Verdict {
            passed,
            code: is_wrong.then_some(code(gate)),
            score: reading.score,
            threshold,
            source: reading.source,
            evidence,
            ..self.open(gate)
        }
    }
}

/// What a gate says when it refuses.
fn code(gate: Gate) -> RejectCode {
    match gate {
        Gate::Schema => RejectCode::RejectGateSchema,
        Gate::Signature => RejectCode::RejectGateSig,
        Gate::Rate => RejectCode::RejectGateRate,
        // Harm is what safety, a dimension of Ihsan, is measured by.
        Gate::Harm | Gate::Ihsan => RejectCode::RejectGateIhsan,
        Gate::Snr => RejectCode::RejectGateSNR,
        Gate::Fate => RejectCode::RejectGateFATE,
    }
}
