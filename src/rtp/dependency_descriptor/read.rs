//! Reading the descriptor's fields in the order of the specification (appendix A.8.2).

use arrayvec::ArrayVec;

use super::super::bits::BitReader;
use super::{
    Customs, DecodeTarget, Dependencies, MAX_DECODE_TARGETS, MAX_FRAME_DIFFS, MAX_SPATIAL_LAYERS, MAX_TEMPLATES,
    MAX_TEMPORAL_LAYERS, Structure,
};

/// What can be read without knowing a structure.
pub(super) struct Head {
    pub(super) start_of_frame: bool,
    pub(super) end_of_frame: bool,
    pub(super) template_id: u8,
    pub(super) frame_number: u16,
    pub(super) carries_structure: bool,
    pub(super) customs: Customs,
}

/// What follows it.
pub(super) struct Tail<'a>(BitReader<'a>);

/// Splits a descriptor; fields beyond the three mandatory bytes are absent when there are no more.
pub(super) fn head(bytes: &[u8]) -> Option<(Head, Tail<'_>)> {
    let mut reader = BitReader::new(bytes);
    let mut head = Head {
        start_of_frame: reader.flag()?,
        end_of_frame: reader.flag()?,
        template_id: reader.bits(6)? as u8,
        frame_number: reader.bits(16)? as u16,
        carries_structure: false,
        customs: Customs::default(),
    };
    if bytes.len() > 3 {
        head.carries_structure = reader.flag()?;
        head.customs = Customs {
            active_targets: reader.flag()?,
            indications: reader.flag()?,
            frame_diffs: reader.flag()?,
            chain_diffs: reader.flag()?,
        };
    }
    Some((head, Tail(reader)))
}

impl Tail<'_> {
    /// template_dependency_structure().
    pub(super) fn structure(&mut self) -> Option<Structure> {
        let template_id_offset = self.0.bits(6)? as u8;
        let target_count = self.0.bits(5)? + 1;
        let templates = self.template_layers()?;
        let target = DecodeTarget { spatial_id: 0, temporal_id: 0, chain: None, contains: 0 };
        let mut structure = Structure {
            template_id_offset,
            templates,
            decode_targets: (0..target_count).map(|_| target).collect(),
            chain_count: 0,
            sizes_less_one: ArrayVec::new(),
        };
        for template in &mut structure.templates {
            template.indications = self.indications(target_count)?;
        }
        for template in &mut structure.templates {
            template.frame_diffs = self.template_frame_diffs()?;
        }
        self.template_chains(&mut structure)?;
        structure.fill_in_targets();
        let has_sizes = self.0.flag()?;
        if has_sizes {
            for _ in 0..structure.spatial_layers() {
                let size = (self.0.bits(16)? as u16, self.0.bits(16)? as u16);
                structure.sizes_less_one.try_push(size).ok()?;
            }
        }
        Some(structure)
    }

    /// active_decode_targets_bitmask.
    pub(super) fn active_targets(&mut self, structure: &Structure) -> Option<u32> {
        self.0.bits(structure.decode_targets.len() as u32)
    }

    /// frame_dependency_definition(): the template's values, or the packet's own in their place.
    pub(super) fn dependencies(&mut self, head: &Head, structure: &Structure) -> Option<Dependencies> {
        let mut dependencies = structure.template(head.template_id)?.clone();
        if head.customs.indications {
            dependencies.indications = self.indications(structure.decode_targets.len() as u32)?;
        }
        if head.customs.frame_diffs {
            dependencies.frame_diffs = self.frame_diffs()?;
        }
        if head.customs.chain_diffs {
            for diff in &mut dependencies.chain_diffs {
                *diff = self.0.bits(8)? as u8;
            }
        }
        Some(dependencies)
    }

    /// template_layers(): each template has the layers of the one before, or the next temporal or spatial one.
    fn template_layers(&mut self) -> Option<Vec<Dependencies>> {
        let mut templates = Vec::new();
        let (mut spatial_id, mut temporal_id) = (0, 0);
        loop {
            if templates.len() == MAX_TEMPLATES
                || spatial_id == MAX_SPATIAL_LAYERS
                || temporal_id == MAX_TEMPORAL_LAYERS
            {
                return None;
            }
            templates.push(Dependencies { spatial_id, temporal_id, ..Dependencies::default() });
            match self.0.bits(2)? {
                0 => {}
                1 => temporal_id += 1,
                2 => (spatial_id, temporal_id) = (spatial_id + 1, 0),
                _ => return Some(templates),
            }
        }
    }

    fn indications(&mut self, target_count: u32) -> Option<u64> {
        let mut indications = 0;
        for target in 0..target_count {
            indications |= u64::from(self.0.bits(2)?) << (2 * target);
        }
        Some(indications)
    }

    fn template_frame_diffs(&mut self) -> Option<ArrayVec<u16, MAX_FRAME_DIFFS>> {
        let mut diffs = ArrayVec::new();
        while self.0.flag()? {
            diffs.try_push(self.0.bits(4)? as u16 + 1).ok()?;
        }
        Some(diffs)
    }

    /// frame_fdiffs(): each in one to three groups of four bits.
    fn frame_diffs(&mut self) -> Option<ArrayVec<u16, MAX_FRAME_DIFFS>> {
        let mut diffs = ArrayVec::new();
        loop {
            match self.0.bits(2)? {
                0 => return Some(diffs),
                groups => diffs.try_push(self.0.bits(4 * groups)? as u16 + 1).ok()?,
            }
        }
    }

    fn template_chains(&mut self, structure: &mut Structure) -> Option<()> {
        let chain_count = self.0.non_symmetric(structure.decode_targets.len() as u32 + 1)?;
        structure.chain_count = chain_count as u8;
        if chain_count == 0 {
            return Some(());
        }
        for target in &mut structure.decode_targets {
            target.chain = Some(self.0.non_symmetric(chain_count)? as u8);
        }
        for template in &mut structure.templates {
            let mut diffs = ArrayVec::<u8, MAX_DECODE_TARGETS>::new();
            for _ in 0..chain_count {
                diffs.try_push(self.0.bits(4)? as u8).ok()?;
            }
            template.chain_diffs = diffs;
        }
        Some(())
    }
}
