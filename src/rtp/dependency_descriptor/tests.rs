//! Vectors are captures from Chromium, as the tests of other forwarding units have them, too.

use super::super::Resolution;
use super::*;

/// Captured from Chromium: L1T1.
const L1T1: &str = "80000180003a410180ef808680";
/// L1T3: three decode targets, one chain.
pub(crate) const L1T3: &str = "800001800214eaa860414d141020842701df010d";
/// L3T3, all nine decode targets.
pub(crate) const L3T3: &str = "d0013481e81485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000\
    040001d9549\
    26e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca87753013f00b3027f01\
    6704ff02cf";
/// L3T3_KEY.
pub(crate) const L3T3_KEY: &str = "8f008581e81485214eaaaaa8000600004000100002aa80a8000600004000100002a000a8000\
    60000400016d549\
    241b5524906d54923157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf";
/// S3T3: three simulcast encodings in one stream.
const S3T3: &str = "c1000180081485214ea000a8000600004000100002a000a8000600004000100002a000a80006000040001d9549\
    26caa493655248c55fe5d00032a190cc38e58803b2a1954c10e10843b2a1dd4c01dc010803bc0218077c0434";
const L2T2_KEY_SHIFT: &str = "8700ed80e3061eaa82804028280514d14134518010a091889a09409fc059c13fc0b3c0";
/// VP8 with three temporal layers: no chains.
const VP8_T3: &str = "8000138002044eaaaf2860414d34538a0940413fc0b3c0";
/// L3T3 again, as it started another stream.
const L3T3_OTHER: &str = "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d9549\
    26e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef00\
    8601df010d";

/// Descriptors in the order they came in one stream.
const STREAMS: [&[&str]; 9] = [
    &[L1T1, "400001"],
    &["82007780403a4101813f80b380", "8400d380803a410181df810d80"],
    &[L1T3],
    &[L3T3, "d10146401c"],
    &[L3T3_KEY],
    &[S3T3],
    &[L2T2_KEY_SHIFT],
    &[VP8_T3],
    &[
        L3T3_OTHER,
        "86017340fc",
        "46017340fc",
        "c3017540fc",
        "88017640fc",
        "48017640fc",
        "c2017840fc",
        "860173",
        "460173",
        "8b0174",
        "0b0174",
        "c30175",
    ],
];

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn read(hex: &str) -> DependencyDescriptor {
    DependencyReader::default().read(&bytes(hex)).unwrap()
}

/// Spatial and temporal layer, indications as in table A.1, frame differences, chain differences.
fn describe(frame: &Dependencies, targets: usize) -> String {
    let symbol = |target| match frame.indication(target) {
        Indication::NotPresent => '-',
        Indication::Discardable => 'D',
        Indication::Switch => 'S',
        Indication::Required => 'R',
    };
    let indications: String = (0..targets).map(symbol).collect();
    format!("S{}T{} {indications} {:?} {:?}", frame.spatial_id, frame.temporal_id, frame.frame_diffs, frame.chain_diffs)
}

#[test]
fn every_descriptor_is_written_as_it_was_read() {
    for stream in STREAMS {
        let mut reader = DependencyReader::default();
        for hex in stream {
            let descriptor = reader.read(&bytes(hex)).unwrap_or_else(|| panic!("{hex} cannot be read"));
            assert_eq!(descriptor.write(None).unwrap().as_slice(), bytes(hex), "{hex}");
        }
    }
}

#[test]
fn a_structure_tells_templates_targets_and_chains() {
    let descriptor = read(L1T3);
    let templates: Vec<_> = descriptor.structure.templates.iter().map(|template| describe(template, 3)).collect();
    let expected = ["S0T0 SSS [] [0]", "S0T0 SSS [4] [4]", "S0T1 -DS [2] [2]", "S0T2 --D [1] [1]", "S0T2 --D [1] [3]"];
    assert_eq!(templates, expected);
    let target = |temporal_id, contains| DecodeTarget { spatial_id: 0, temporal_id, chain: Some(0), contains };
    assert_eq!(descriptor.structure.decode_targets(), [target(0, 0b001), target(1, 0b011), target(2, 0b111)]);
    assert_eq!(descriptor.structure.template_ids(), (0, 5));
    assert_eq!(descriptor.structure.resolution(0), Some(Resolution { width: 480, height: 270 }));
    assert_eq!(descriptor.structure.resolution(1), None);
}

#[test]
fn decode_targets_contain_each_other_as_the_prediction_does() {
    // Of the target with both layers at their highest: what is in it, and whether that is all below it.
    let table = [
        ("full prediction", L3T3, 9, 0b111_111_111, true),
        ("prediction between layers in key pictures only", L3T3_KEY, 9, 0b111_000_000, false),
        ("no prediction between layers", S3T3, 9, 0b111_000_000, false),
        ("no chains", VP8_T3, 3, 0b111, true),
    ];
    for (name, hex, count, contains, builds) in table {
        let structure = read(hex).structure;
        assert_eq!(structure.layers_build_on_each_other(), builds, "{name}");
        assert_eq!(structure.decode_targets().len(), count, "{name}");
        assert_eq!(structure.decode_targets().last().map(|target| target.contains), Some(contains), "{name}");
    }
    assert_eq!(read(VP8_T3).structure.decode_targets()[0].chain, None);
}

#[test]
fn packets_refer_to_the_structure_and_active_targets_before_them() {
    let mut reader = DependencyReader::default();
    let first = reader.read(&bytes(L3T3)).unwrap();
    assert_eq!((first.frame_number as u16, first.active_targets, first.starts_sequence), (0x134, 0x1ff, true));
    assert!(first.start_of_frame && first.end_of_frame);
    let second = reader.read(&bytes("d10146401c")).unwrap();
    assert_eq!((second.frame_number - first.frame_number, second.active_targets), (0x12, 0x7));
    assert_eq!((second.dependencies.spatial_id, second.dependencies.temporal_id), (0, 1));
    let third = reader.read(&bytes("100147")).unwrap();
    assert_eq!((third.active_targets, third.starts_sequence), (0x7, false), "until the sender says otherwise");
    assert!(!third.start_of_frame && !third.end_of_frame);
    let late = reader.read(&bytes("100145")).unwrap();
    assert_eq!(late.frame_number, first.frame_number + 0x11);
}

#[test]
fn frame_numbers_go_on_over_the_wrap() {
    let mut reader = DependencyReader::default();
    let first = reader.read(&bytes("80fffe80003a410180ef808680")).unwrap().frame_number;
    for (hex, steps) in [("400001", 3), ("40ffff", 1), ("400002", 4)] {
        assert_eq!(reader.read(&bytes(hex)).unwrap().frame_number, first + steps, "{hex}");
    }
}

#[test]
fn late_packets_go_by_the_structure_that_was_valid_for_them() {
    let mut reader = DependencyReader::default();
    // Templates 0 and 1 from frame 1, then 2 and 3 from frame 0x77.
    let first = reader.read(&bytes(L1T1)).unwrap();
    reader.read(&bytes("82007780403a4101813f80b380")).unwrap();
    assert_eq!(reader.read(&bytes("410076")).unwrap().structure, first.structure);
    assert_eq!(reader.read(&bytes("410078")), None, "its structure is not valid any more");
    assert_eq!(reader.read(&bytes("430078")).unwrap().structure.template_ids(), (2, 4));
    // The first structure once more, late: it does not become the current one again.
    assert!(reader.read(&bytes(L1T1)).is_some());
    assert_eq!(reader.read(&bytes("430079")).unwrap().structure.template_ids(), (2, 4));
}

#[test]
fn nothing_can_be_read_before_a_structure() {
    let mut reader = DependencyReader::default();
    assert_eq!(reader.read(&bytes("400001")), None);
    assert_eq!(reader.read(&bytes("86017340fc")), None);
    assert_eq!(reader.read(&[]), None);
}

#[test]
fn fields_of_a_packets_own_stand_in_for_the_templates() {
    let mut reader = DependencyReader::default();
    reader.read(&bytes(L1T3)).unwrap();
    // Template 1 at frame 9 with all three fields: indications R-S, differences 3, 17 and 300, chain 200.
    let custom = [0xc1, 0x00, 0x09, 0x3e, 0x49, 0x42, 0x18, 0x95, 0x99, 0x00];
    let descriptor = reader.read(&custom).unwrap();
    assert_eq!(describe(&descriptor.dependencies, 3), "S0T0 R-S [3, 17, 300] [200]");
    assert_eq!(descriptor.write(None).unwrap().as_slice(), custom);
}

#[test]
fn a_rewrite_moves_numbers_and_narrows_the_active_targets() {
    let identity = DependencyRewrite::default();
    let moved = DependencyRewrite { frame_number_offset: 0xffff, template_id_offset: 60, active_targets: None };
    let narrowed = DependencyRewrite { active_targets: Some(0b011), ..identity };
    let both = DependencyRewrite { active_targets: Some(0b011), ..moved };
    let table = [
        (L1T3, identity, L1T3),
        ("c2000a", identity, "c2000a"),
        ("c2000a", moved, "fe0009"),
        ("c5000a", moved, "c10009"),
        ("c2000a", narrowed, "c2000a43"),
        ("c2000a47", narrowed, "c2000a43"),
        ("c2000a", both, "fe000943"),
    ];
    for (hex, changes, expected) in table {
        let mut reader = DependencyReader::default();
        reader.read(&bytes(L1T3)).unwrap();
        let parsed = reader.read(&bytes(hex));
        let rewritten = rewrite(&bytes(hex), parsed.as_ref(), changes).unwrap();
        assert_eq!(rewritten.as_slice(), bytes(expected), "{hex} {changes:?}");
    }
    // With a structure: both of its ranges move, so what follows can still be read.
    let mut reader = DependencyReader::default();
    let rewritten = rewrite(&bytes(L1T3), Some(&read(L1T3)), both).unwrap();
    let descriptor = reader.read(&rewritten).unwrap();
    assert_eq!((descriptor.frame_number as u16, descriptor.active_targets), (0, 0b011));
    assert_eq!(descriptor.structure.template_ids(), (60, 1));
    assert_eq!(describe(&descriptor.dependencies, 3), "S0T0 SSS [] [0]");
    assert_eq!(reader.read(&bytes("400001")).unwrap().dependencies.temporal_id, 2, "template 64, at 0");
}

/// Every descriptor cut at every length and with every bit flipped: refused, or the same again after writing.
#[test]
fn malformed_descriptors_are_refused_or_understood_but_never_panic() {
    for stream in STREAMS {
        let mut reader = DependencyReader::default();
        for hex in stream {
            let whole = bytes(hex);
            let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
            let flipped = (0..whole.len() * 8).map(|bit| {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 0x80 >> (bit % 8);
                bytes
            });
            for bytes in cut.chain(flipped) {
                assert_reads_what_it_writes(&reader, &bytes);
            }
            reader.read(&whole).unwrap();
        }
    }
}

fn assert_reads_what_it_writes(reader: &DependencyReader, bytes: &[u8]) {
    let Some(descriptor) = reader.clone().read(bytes) else {
        return;
    };
    for active_targets in [None, Some(1)] {
        let written = descriptor.write(active_targets).unwrap();
        let again = reader.clone().read(&written).unwrap();
        assert_eq!(again.write(active_targets), Some(written));
        assert_eq!(again.dependencies, descriptor.dependencies);
    }
}
