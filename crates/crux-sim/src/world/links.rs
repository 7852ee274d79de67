//! Links between lives, four bytes a direction: at ten thousand fulcrums there are fifty million of them.

const PAGE: usize = 256;

type Page = Box<[u32; PAGE]>;

/// Each life's end of its links. An end is up or down and knows the number of the establishment that it belongs to; what
/// is sent on one establishment does not arrive on another.
#[derive(Debug, Default)]
pub(super) struct Links {
    ends: Vec<Vec<Option<Page>>>,
    establishments: u32,
}

impl Links {
    /// Makes room for one more life.
    pub(super) fn add(&mut self) {
        self.ends.push(Vec::new());
    }

    fn end(&self, owner: u32, peer: u32) -> u32 {
        let page = self.ends[owner as usize].get(peer as usize / PAGE);
        page.and_then(Option::as_ref).map_or(0, |page| page[peer as usize % PAGE])
    }

    fn end_mut(&mut self, owner: u32, peer: u32) -> &mut u32 {
        let pages = &mut self.ends[owner as usize];
        let page = peer as usize / PAGE;
        if pages.len() <= page {
            pages.resize_with(page + 1, || None);
        }
        &mut pages[page].get_or_insert_with(|| Box::new([0; PAGE]))[peer as usize % PAGE]
    }

    /// Whether `owner` holds its link to `peer` as up.
    pub(super) fn up(&self, owner: u32, peer: u32) -> bool {
        self.end(owner, peer) & 1 == 1
    }

    /// The establishment that `owner`'s end belongs to.
    pub(super) fn establishment(&self, owner: u32, peer: u32) -> u32 {
        self.end(owner, peer) >> 1
    }

    /// Whether both hold the same link as up, so that something can arrive.
    pub(super) fn whole(&self, a: u32, b: u32) -> bool {
        self.up(a, b) && self.end(a, b) == self.end(b, a)
    }

    fn fresh(&mut self) -> u32 {
        self.establishments += 1;
        assert!(self.establishments < 1 << 31, "more links than the world can count");
        self.establishments
    }

    /// A new link of the two, up at both ends.
    pub(super) fn establish(&mut self, a: u32, b: u32) {
        let end = self.fresh() << 1 | 1;
        *self.end_mut(a, b) = end;
        *self.end_mut(b, a) = end;
    }

    /// `owner` holds it as down.
    pub(super) fn drop_end(&mut self, owner: u32, peer: u32) {
        if self.up(owner, peer) {
            *self.end_mut(owner, peer) &= !1;
        }
    }

    /// Nothing passes on `owner`'s links any more, and nobody knows: its address has changed.
    pub(super) fn strand(&mut self, owner: u32) {
        for peer in self.peers(owner) {
            let end = self.fresh() << 1 | 1;
            *self.end_mut(owner, peer) = end;
        }
    }

    /// Whom `owner` holds a link to.
    pub(super) fn peers(&self, owner: u32) -> Vec<u32> {
        let mut peers = Vec::new();
        for (at, page) in self.ends[owner as usize].iter().enumerate() {
            let Some(page) = page else { continue };
            let up = page.iter().enumerate().filter(|(_, end)| **end & 1 == 1);
            peers.extend(up.map(|(peer, _)| u32::try_from(at * PAGE + peer).unwrap_or(u32::MAX)));
        }
        peers
    }

    /// A life is over: its ends are gone, the others' are not.
    pub(super) fn forget(&mut self, owner: u32) {
        self.ends[owner as usize] = Vec::new();
    }
}
