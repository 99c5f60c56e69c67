//! Every attack on the chain, on small chains.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

fn call(number: u64) -> Event {
    Event::Call(Call {
        request_id: format!("id-{number}"),
        method: "POST".to_owned(),
        route: "/api/v1/identity/sign".to_owned(),
        peer: "loopback".to_owned(),
        address: "127.0.0.1".to_owned(),
    })
}

/// `count` records as lines, and the head after them.
fn chain(count: u64) -> (Vec<Vec<u8>>, Head) {
    let mut head = Head::START;
    let lines = (1..=count).map(|number| head.append(&call(number), 1000)).collect();
    (lines, head)
}

fn read(lines: &[Vec<u8>], known: Head) -> (End, Head, Vec<Record>) {
    let mut head = Head::START;
    let mut records = Vec::new();
    let bytes = lines.concat();
    let end = read_chain(&mut Cursor::new(bytes), &mut head, known, &mut |record| {
        records.push(record);
    });
    (end.unwrap(), head, records)
}

fn broken_at(end: End) -> u64 {
    let End::Broken { line, .. } = end else { panic!("not broken: {end:?}") };
    line
}

#[test]
fn what_was_appended_is_read() {
    let (mut lines, mut head) = chain(3);
    lines.push(head.append(&Event::Cut { bytes: 7 }, -5));
    let (end, read_head, records) = read(&lines, head);
    assert_eq!((end, read_head, records.len()), (End::Whole, head, 4));
    assert_eq!(records[1].event, call(2));
    assert_eq!((records[3].seq, records[3].at_ms), (4, -5));
    assert_eq!(records[3].event, Event::Cut { bytes: 7 });
    assert_eq!(records[0].before(), Head::START);
}

#[test]
fn the_chain_has_the_form_that_other_programs_can_check() {
    let (lines, _) = chain(1);
    let zeros = "0".repeat(64);
    let unhashed = format!(
        "{{\"address\":\"127.0.0.1\",\"at_ms\":1000,\"event\":\"call\",\"method\":\"POST\",\
         \"peer\":\"loopback\",\"prev\":\"{zeros}\",\"request_id\":\"id-1\",\
         \"route\":\"/api/v1/identity/sign\",\"seq\":1}}"
    );
    let hash = blake3::hash(format!("bizra-audit-v1:{unhashed}").as_bytes()).to_hex();
    let line = unhashed.replace("\"method\"", &format!("\"hash\":\"{hash}\",\"method\""));
    assert_eq!(String::from_utf8(lines[0].clone()).unwrap(), format!("{line}\n"));
}

#[test]
fn a_removed_record_is_found_wherever_it_was() {
    let (lines, head) = chain(6);
    for removed in 0..5 {
        let mut fewer = lines.clone();
        fewer.remove(removed);
        assert_eq!(broken_at(read(&fewer, head).0), removed as u64 + 1);
    }
    // The last one leaves a whole chain, which ends before the anchor.
    let (end, reached, _) = read(&lines[..5], head);
    assert_eq!(end, End::Whole);
    assert!(reached.seq < head.seq);
}

#[test]
fn records_in_another_order_are_found() {
    let (lines, head) = chain(5);
    for (a, b) in [(0, 1), (1, 3), (0, 4), (3, 4)] {
        let mut swapped = lines.clone();
        swapped.swap(a, b);
        assert_eq!(broken_at(read(&swapped, head).0), a as u64 + 1);
    }
    let mut repeated = lines.clone();
    repeated.insert(2, lines[1].clone());
    assert_eq!(
        read(&repeated, head).0,
        End::Broken {
            line: 3,
            at: (lines[0].len() + lines[1].len()) as u64,
            problem: Problem::Order { expected: 3, found: 2 }
        }
    );
}

#[test]
fn a_record_that_was_written_anew_does_not_fit_those_after_it() {
    let (mut lines, head) = chain(4);
    let mut forged = Head::START;
    forged.append(&call(1), 1000);
    lines[1] = forged.append(&call(99), 1000);
    assert_eq!(read(&lines, head).0, broken(3, &lines, Problem::Unlinked));
    // Nor does a whole new end fit the anchor.
    lines[2] = forged.append(&call(3), 1000);
    lines[3] = forged.append(&call(4), 1000);
    assert_eq!(read(&lines, head).0, broken(4, &lines, Problem::Foreign));
}

fn broken(line: u64, lines: &[Vec<u8>], problem: Problem) -> End {
    let before = lines.iter().take(usize::try_from(line).unwrap() - 1);
    End::Broken { line, at: before.map(|line| line.len() as u64).sum(), problem }
}

#[test]
fn a_tail_cut_anywhere_is_torn_and_leaves_the_records_before_it() {
    let (lines, head) = chain(3);
    let bytes = lines.concat();
    let whole = lines[0].len() + lines[1].len();
    for end_at in whole + 1..bytes.len() {
        let mut head_read = Head::START;
        let end = read_chain(&mut &bytes[..end_at], &mut head_read, head, &mut |_| {}).unwrap();
        assert_eq!((end, head_read.seq), (End::Torn { at: whole as u64 }, 2));
    }
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let mut endless = std::io::repeat(b'x').take(1 << 40);
    let mut buffered = std::io::BufReader::new(&mut endless);
    let end = read_chain(&mut buffered, &mut Head::START.clone(), Head::START, &mut |_| {});
    assert_eq!(end.unwrap(), End::Broken { line: 1, at: 0, problem: Problem::NotARecord });
}

#[test]
fn every_single_bit_counts() {
    let (lines, head) = chain(2);
    let bytes = lines.concat();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let mut reached = Head::START;
            let end = read_chain(&mut &changed[..], &mut reached, head, &mut |_| {}).unwrap();
            assert!(end != End::Whole || reached != head, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn the_anchor_is_read_as_it_was_written() {
    let (_, last) = chain(3);
    let anchor = Anchor { first: Head { seq: 1, hash: [7; 32] }, last };
    let bytes = anchor.to_bytes();
    assert_eq!(bytes.len(), ANCHOR_BYTES);
    assert_eq!(Anchor::from_bytes(&bytes), Some(anchor));
    let far = Anchor { first: last, last: Head { seq: u64::MAX >> 11, hash: [9; 32] } };
    assert_eq!(far.to_bytes().len(), ANCHOR_BYTES);
    let backwards = Anchor { first: last, last: Head::START };
    for wrong in [&b""[..], b"{}", &bytes[..100], &backwards.to_bytes()] {
        assert_eq!(Anchor::from_bytes(wrong), None);
    }
}

#[test]
fn full_files_are_known_by_their_names() {
    assert_eq!(archive_first(&archive_name(7)), Some(7));
    assert!(archive_name(99) < archive_name(100));
    for other in ["audit.log", "audit-7.log", "audit-.log", "audit-0000000000000000000x.log"] {
        assert_eq!(archive_first(other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn no_line_makes_the_reader_panic(line in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut head = Head::START;
        prop_assert!(head.follow(&line).is_err());
        prop_assert_eq!(head, Head::START);
        let _ = Anchor::from_bytes(&line);
    }

    #[test]
    fn whatever_a_record_says_is_read_as_it_was_said(
        text in ".{0,60}", at_ms in -1_000_000_000_000_i64..4_000_000_000_000, bytes in 0..1_u64 << 50
    ) {
        let event = Event::Call(Call {
            request_id: text.clone(),
            method: text.clone(),
            route: text.clone(),
            peer: text.clone(),
            address: text,
        });
        let mut written = Head::START;
        let mut lines = written.append(&event, at_ms);
        lines.extend(written.append(&Event::Cut { bytes }, at_ms));
        let (mut head, mut records) = (Head::START, Vec::new());
        let end = read_chain(&mut &lines[..], &mut head, written, &mut |record| {
            records.push(record);
        });
        prop_assert_eq!(end.unwrap(), End::Whole);
        prop_assert_eq!(&records[0].event, &event);
        prop_assert_eq!(&records[1].event, &Event::Cut { bytes });
    }
}
