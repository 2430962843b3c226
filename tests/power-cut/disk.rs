//! The platter as one file, `disk.img`, for a loop device to stand on. A flush of that device is an fsync here.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::platter::Platter;
use crate::power::{Medium, Power};

pub const NAME: &str = "disk.img";
const IMAGE: INodeNo = INodeNo(2);
/// Nobody else changes anything.
pub const TTL: Duration = Duration::from_hours(1);

pub struct Disk(pub Arc<Power<Platter>>);

impl Disk {
    fn about(&self, number: INodeNo) -> Option<FileAttr> {
        let size = self.0.ask(|platter| platter.size())?;
        Some(match number {
            INodeNo::ROOT => attributes(number, FileType::Directory, 0),
            _ => attributes(number, FileType::RegularFile, size),
        })
    }
}

/// Of a file of root's, in whose times nobody is interested.
pub fn attributes(ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: if kind == FileType::Directory { 0o755 } else { 0o644 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4_096,
        flags: 0,
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.about(IMAGE) {
            None => reply.error(Errno::EIO),
            Some(image) if name == NAME => reply.entry(&TTL, &image, Generation(0)),
            Some(_) => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.about(number) {
            Some(about) => reply.attr(&TTL, &about),
            None => reply.error(Errno::EIO),
        }
    }

    /// Its size stays, and its times are of no interest.
    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, number, handle, reply);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.ask(|platter| platter.read(offset, size as usize)) {
            Some(bytes) => reply.data(&bytes),
            None => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.ask(|platter| platter.write(offset, bytes)) {
            Some(written) => reply.written(written as u32),
            None => reply.error(Errno::EIO),
        }
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        // With nothing to flush there is nothing at stake, and no moment worth a cut.
        let flushed = match self.0.ask(|platter| platter.in_balance()) {
            Some(0) => Some(()),
            _ => self.0.sync(None, Platter::flush),
        };
        match flushed {
            Some(()) => reply.ok(),
            None => reply.error(Errno::EIO),
        }
    }
}
