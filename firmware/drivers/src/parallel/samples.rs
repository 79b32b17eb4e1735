//! Edges in samples of a port: VSYNC, HREF and the data pins read together, once for each clock of PCLK.

use super::{Output, RowAssembler};

/// Where the signals are in a sample, and their last levels. VSYNC and HREF are active when high.
#[derive(Clone, Copy, Debug)]
pub struct PortSamples {
    vsync: u16,
    href: u16,
    data_shift: u8,
    last: u16,
}

impl PortSamples {
    /// Samples with VSYNC and HREF at two bits (0 to 15) and D0 to D7 from `data_shift` (0 to 8) on; `None` where these overlap or lie
    /// outside.
    #[must_use]
    pub fn new(vsync_bit: u8, href_bit: u8, data_shift: u8) -> Option<Self> {
        let vsync = 1_u16.checked_shl(vsync_bit.into())?;
        let href = 1_u16.checked_shl(href_bit.into())?;
        let data = if data_shift <= 8 { 0xff_u16 << data_shift } else { return None };
        ((vsync | href) & data == 0 && vsync != href).then_some(Self { vsync, href, data_shift, last: 0 })
    }

    /// Takes samples up to one that completes something; returns how many were taken, and what was completed: give the others again then.
    /// Where nothing is completed all are taken.
    pub fn feed(&mut self, samples: &[u16], rows: &mut RowAssembler<'_>) -> (usize, Option<Output>) {
        for (taken, &sample) in samples.iter().enumerate() {
            // Each edge is noted before its output is returned: when the sample comes again, only what follows is done.
            if self.last & !sample & self.href != 0 {
                self.last &= !self.href;
                if let Some(output) = rows.line_end() {
                    return (taken, Some(output));
                }
            }
            if sample & !self.last & self.vsync != 0 {
                self.last |= self.vsync;
                if let Some(output) = rows.vsync() {
                    return (taken, Some(output));
                }
            }
            if sample & self.href != 0 {
                let [byte, _] = (sample >> self.data_shift).to_le_bytes();
                rows.bytes(&[byte]);
            }
            self.last = sample;
        }
        (samples.len(), None)
    }
}
