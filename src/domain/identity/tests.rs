use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use proptest::prelude::*;
use sha2::Digest as _;

use super::*;

fn key() -> NodeKey {
    NodeKey::from_secret(&std::array::from_fn(|i| i as u8 + 1))
}

fn claim(message: &'static [u8], signature: &str, public_key: &str) -> Claim {
    Claim {
        message: ::bytes::Bytes::from_static(message),
        signature: signature.to_owned(),
        public_key: public_key.to_owned(),
    }
}

#[test]
fn a_key_of_low_order_is_refused_in_every_encoding() {
    for point in EIGHT_TORSION {
        assert_eq!(PublicKey::admit(&point.compress().0), Err(VerifyError::WeakKey));
    }
    // The identity and a point of order two, written with y + p and with a sign for x = 0.
    for text in [
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        assert_eq!(PublicKey::admit_hex(text), Err(VerifyError::WeakKey), "{text}");
    }
}

#[test]
fn a_key_with_a_torsion_part_is_refused() {
    let honest = CompressedEdwardsY(*key().public_key().as_bytes()).decompress().unwrap();
    assert!(PublicKey::admit(&honest.compress().0).is_ok());
    for torsion in &EIGHT_TORSION[1..] {
        let mixed = (honest + torsion).compress().0;
        assert_eq!(PublicKey::admit(&mixed), Err(VerifyError::WeakKey));
    }
}

#[test]
fn bytes_that_are_no_point_are_refused() {
    let not_a_point = (0..=255)
        .map(|byte| [byte; 32])
        .find(|bytes| CompressedEdwardsY(*bytes).decompress().is_none());
    assert_eq!(PublicKey::admit(&not_a_point.unwrap()), Err(VerifyError::WeakKey));
}

#[test]
fn the_universal_forgery_is_refused() {
    let identity = format!("01{}", "00".repeat(31));
    let forged = format!("01{}", "00".repeat(63));
    assert_eq!(
        verify_claim(&claim(b"any message at all", &forged, &identity)),
        Err(VerifyError::WeakKey)
    );
    // The same signature under an honest key.
    assert_eq!(
        verify_claim(&claim(b"x", &forged, &key().public_key().to_hex())),
        Err(VerifyError::Mismatch)
    );
}

#[test]
fn a_second_encoding_of_a_signature_is_refused() {
    // The group order, little-endian: S + order satisfies the equation as well.
    let order =
        bytes::from_hex::<32>("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let order = order.unwrap();
    let signed = key().sign(KeyUse::Message, b"malleable");
    let mut other = signed.signature;
    let mut carry = 0;
    for (byte, add) in other.0[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry as u8;
        carry >>= 8;
    }
    let public = key();
    let public = public.public_key();
    assert_eq!(public.verify(KeyUse::Message, b"malleable", &signed.signature), Ok(()));
    assert_eq!(public.verify(KeyUse::Message, b"malleable", &other), Err(VerifyError::Mismatch));
}

/// A dishonest owner of an honest key can make R' the identity: R is then of small order, and plain
/// verification, which looks at the equation only, accepts it.
#[test]
fn a_signature_with_r_of_small_order_is_refused() {
    let signing = SigningKey::from_bytes(&[9; 32]);
    let public = PublicKey::admit(signing.verifying_key().as_bytes()).unwrap();
    let text = domain_separated_digest(b"message").to_hex();
    let mut is_accepted_by_plain = 0;
    for torsion in EIGHT_TORSION {
        let r = torsion.compress().0;
        let hash = sha2::Sha512::new()
            .chain_update(r)
            .chain_update(public.as_bytes())
            .chain_update(&text)
            .finalize();
        let s = Scalar::from_bytes_mod_order_wide(&hash.into()) * signing.to_scalar();
        let mut signature = Signature([0; 64]);
        signature.0[..32].copy_from_slice(&r);
        signature.0[32..].copy_from_slice(s.as_bytes());
        assert_eq!(
            public.verify(KeyUse::Message, b"message", &signature),
            Err(VerifyError::Mismatch)
        );
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        #[expect(clippy::disallowed_methods, reason = "shows what it accepts")]
        let accepted = public.0.verify(text.as_bytes(), &signature).is_ok();
        is_accepted_by_plain += u32::from(accepted);
        assert!(public.0.verify_strict(text.as_bytes(), &signature).is_err());
    }
    assert_eq!(is_accepted_by_plain, 1);
}

#[test]
fn keys_that_share_a_place_in_memory_are_told_apart() {
    let honest = *key().public_key().as_bytes();
    let last = (1_u32..).map(|number| {
        let mut other = honest;
        other[2..6].copy_from_slice(&number.to_le_bytes());
        other
    });
    // Of the bytes that begin alike some are no point, others have a torsion part.
    for other in last.take(200) {
        assert_eq!(PublicKey::admit(&honest).unwrap().as_bytes(), &honest);
        let admitted = PublicKey::admit(&other);
        assert_eq!(admitted, PublicKey::examine(&other));
        assert_eq!(PublicKey::admit(&other), admitted);
        assert!(admitted.is_err() || admitted.unwrap().as_bytes() == &other);
    }
}

#[test]
fn signing_a_message_is_no_oracle_for_envelopes() {
    let key = key();
    let header = br#"{"audience":null}"#;
    let tagged = [ENVELOPE_TAG, header].concat();
    for message in [&tagged[..], header] {
        let signed = key.sign(KeyUse::Message, message);
        assert_eq!(
            key.public_key().verify(KeyUse::Envelope, header, &signed.signature),
            Err(VerifyError::Mismatch)
        );
    }
    let sealed = key.sign(KeyUse::Envelope, header);
    for message in [&tagged[..], header] {
        assert_eq!(
            key.public_key().verify(KeyUse::Message, message, &sealed.signature),
            Err(VerifyError::Mismatch)
        );
    }
    assert!(ENVELOPE_TAG.iter().any(|byte| !byte.is_ascii_hexdigit()));
}

#[test]
fn no_tag_begins_another() {
    let tags = [
        ENVELOPE_TAG,
        APPROVAL_TAG,
        ROTATION_TAG,
        ROTATION_PROOF_TAG,
        PROPOSAL_TAG,
        VOTE_TAG,
        FEEDBACK_TAG,
    ];
    for (at, tag) in tags.iter().enumerate() {
        assert!(tag.iter().any(|byte| !byte.is_ascii_hexdigit()), "a message is signed as hex");
        for (other_at, other) in tags.iter().enumerate() {
            assert!(at == other_at || !other.starts_with(tag), "{at} begins {other_at}");
        }
    }
    let uses = [
        KeyUse::Message,
        KeyUse::Envelope,
        KeyUse::Approval,
        KeyUse::Rotation,
        KeyUse::RotationProof,
        KeyUse::Proposal,
        KeyUse::Vote,
        KeyUse::Feedback,
    ];
    for signed_for in uses {
        let signed = key().sign(signed_for, b"{}");
        for used_for in uses {
            let verified = key().public_key().verify(used_for, b"{}", &signed.signature);
            assert_eq!(verified.is_ok(), signed_for == used_for, "{signed_for:?} {used_for:?}");
        }
    }
}

#[test]
fn a_secret_is_not_printed() {
    let secret = [0xab; 32];
    let text = format!("{:?}", NodeKey::from_secret(&secret));
    assert!(!text.contains("abab") && !text.contains("171, 171"), "{text}");
}

#[test]
fn a_label_is_short_and_printable() {
    assert!(is_label("x") && is_label(&"\u{20ac}".repeat(64)));
    for other in ["", "a\nb", "a\u{7f}", &"x".repeat(65), &"\u{20ac}".repeat(65)] {
        assert!(!is_label(other), "{other:?}");
    }
}

proptest! {
    #[test]
    fn a_signature_holds_for_its_message_and_no_other(
        secret: [u8; 32],
        message in prop::collection::vec(any::<u8>(), 0..64),
        bit in 0_usize..512,
    ) {
        let key = NodeKey::from_secret(&secret);
        for key_use in [KeyUse::Message, KeyUse::Envelope] {
            let signed = key.sign(key_use, &message);
            let public = PublicKey::admit(signed.public_key.as_bytes()).unwrap();
            prop_assert_eq!(public.verify(key_use, &message, &signed.signature), Ok(()));
            let mut flipped = signed.signature;
            flipped.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(public.verify(key_use, &message, &flipped).is_err());
            let longer = [&message[..], b"x"].concat();
            prop_assert!(public.verify(key_use, &longer, &signed.signature).is_err());
        }
    }

    #[test]
    fn verification_answers_what_strict_verification_answers(
        message: [u8; 8],
        r in prop_oneof![
            Just(None),
            (0_usize..8).prop_map(|torsion| Some(EIGHT_TORSION[torsion].compress().0)),
            any::<[u8; 32]>().prop_map(Some),
            (0_u8..19).prop_map(|low| {
                let mut bytes = [0xff; 32];
                (bytes[0], bytes[31]) = (0xed + low, 0x7f);
                Some(bytes)
            }),
        ],
        s in prop_oneof![Just(None), Just(Some([0; 32])), any::<[u8; 32]>().prop_map(Some)],
    ) {
        let key = key();
        let mut signature = key.sign(KeyUse::Envelope, &message).signature;
        if let Some(r) = r {
            signature.0[..32].copy_from_slice(&r);
        }
        if let Some(s) = s {
            signature.0[32..].copy_from_slice(&s);
        }
        let signed = [ENVELOPE_TAG, &message[..]].concat();
        let strictly = ed25519_dalek::Signature::from_bytes(&signature.0);
        let strictly = key.public.0.verify_strict(&signed, &strictly).is_ok();
        let verified = key.public_key().verify(KeyUse::Envelope, &message, &signature);
        prop_assert_eq!(verified.is_ok(), strictly);
        prop_assert_eq!(strictly, r.is_none() && s.is_none());
    }

    #[test]
    fn any_claim_is_answered(signature in "\\PC{0,140}", public_key in "\\PC{0,70}") {
        prop_assert!(verify_claim(&claim(b"x", &signature, &public_key)).is_err());
    }

    #[test]
    fn a_batch_answers_what_single_calls_answer(picks in prop::collection::vec(0_usize..7, 0..12)) {
        let honest = key();
        let other = NodeKey::from_secret(&[9; 32]);
        let signed = |key: &NodeKey, message: &'static [u8]| {
            let signed = key.sign(KeyUse::Message, message);
            claim(message, &signed.signature.to_hex(), &signed.public_key.to_hex())
        };
        let good = signed(&honest, b"a");
        let kinds = [
            good.clone(),
            signed(&other, b"b"),
            Claim { message: ::bytes::Bytes::from_static(b"tampered"), ..good.clone() },
            Claim { public_key: "00".repeat(32), ..good.clone() },
            Claim { public_key: "nothing".to_owned(), ..good.clone() },
            Claim { signature: "nothing".to_owned(), ..good.clone() },
            Claim { public_key: other.public_key().to_hex(), ..good.clone() },
        ];
        let claims: Vec<_> = picks.iter().map(|pick| kinds[*pick].clone()).collect();
        let single: Vec<_> = claims.iter().map(verify_claim).collect();
        prop_assert_eq!(verify_claims(&claims), single);
    }
}
