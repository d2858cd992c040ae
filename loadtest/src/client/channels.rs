//! Data channels of a client, by their labels, and what came over them.

use str0m::channel::{ChannelData, ChannelId};

/// Data channel messages kept until they are taken.
const MAX_DATA: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Channels {
    open: Vec<(ChannelId, String)>,
    came: Vec<(String, Vec<u8>)>,
}

impl Channels {
    pub(super) fn opened(&mut self, id: ChannelId, label: String) {
        self.open.push((id, label));
    }

    pub(super) fn closed(&mut self, id: ChannelId) {
        self.open.retain(|(open, _)| *open != id);
    }

    pub(super) fn find(&self, label: &str) -> Option<ChannelId> {
        self.open.iter().find(|(_, open)| open == label).map(|(id, _)| *id)
    }

    pub(super) fn received(&mut self, message: ChannelData) {
        let label = self.open.iter().find(|(id, _)| *id == message.id).map(|(_, label)| label.clone());
        if let Some(label) = label.filter(|_| self.came.len() < MAX_DATA) {
            self.came.push((label, message.data));
        }
    }

    pub(super) fn take(&mut self, label: &str) -> Vec<Vec<u8>> {
        let came = std::mem::take(&mut self.came);
        let (taken, rest): (Vec<_>, Vec<_>) = came.into_iter().partition(|(over, _)| over == label);
        self.came = rest;
        taken.into_iter().map(|(_, message)| message).collect()
    }
}
