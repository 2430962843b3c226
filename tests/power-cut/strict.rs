//! The strict files of [`crate::names`] as a file system: what the kernel asks, and what it is told.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::disk::{TTL, attributes};
use crate::names::{Directory, File, Names, Node, Refusal};
use crate::power::{Call, Power};

/// How large it says it is.
const SIZE: u64 = 4 << 30;
const BLOCK: u64 = 4_096;

pub struct Strict {
    power: Arc<Power<Names>>,
    /// A directory as it was when it was opened: one may be emptied while it is read.
    open: Mutex<HashMap<u64, Vec<Listed>>>,
    handles: AtomicU64,
}

type Listed = (OsString, u64, FileType);

impl Strict {
    pub fn new(power: Arc<Power<Names>>) -> Self {
        Self { power, open: Mutex::default(), handles: AtomicU64::new(1) }
    }

    fn ask<R>(&self, question: impl FnOnce(&mut Names) -> Result<R, Refusal>) -> Result<R, Errno> {
        self.power.ask(question).ok_or(Errno::EIO)?.map_err(errno)
    }

    /// The same with a question that may be the one to fail.
    fn act<R>(&self, call: Call, question: impl FnOnce(&mut Names) -> Result<R, Refusal>) -> Result<R, Errno> {
        self.power.fails(call).map_or_else(|| self.ask(question), Err)
    }

    fn about(&self, number: u64) -> Result<FileAttr, Errno> {
        self.ask(|names| names.node(number).map(|node| about(number, node)))
    }

    fn make(&self, parent: INodeNo, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        self.act(Call::Make, |names| {
            let number = names.make(parent.0, name, node)?;
            names.node(number).map(|node| about(number, node))
        })
    }

    /// With nothing to sync there is nothing at stake, and no moment worth a cut.
    fn sync(&self, number: u64, reply: ReplyEmpty) {
        let at_stake = self.ask(|names| Ok(names.is_fresh(number).then(|| names.path(number))));
        let sync = |path: Vec<String>| {
            if let Some(errno) = self.power.fails(Call::Sync) {
                self.ask(|names| names.fail_to_sync(number))?;
                return Err(errno);
            }
            // DATA_DIR/LOG/NUMBER/…
            let log = path.get(1).map(String::as_str);
            self.power.sync(log, |names| names.sync(number)).ok_or(Errno::EIO)?.map_err(errno)
        };
        answer(at_stake.and_then(|path| path.map_or(Ok(()), sync)), reply);
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::NotThere => Errno::ENOENT,
        Refusal::NotEmpty => Errno::ENOTEMPTY,
        Refusal::WrongKind => Errno::EINVAL,
    }
}

fn about(number: u64, node: &Node) -> FileAttr {
    attributes(INodeNo(number), kind(node), node.size())
}

fn kind(node: &Node) -> FileType {
    match node {
        Node::File(_) => FileType::RegularFile,
        Node::Directory(_) => FileType::Directory,
    }
}

fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Strict {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.ask(|names| {
            let number = names.find(parent.0, name)?;
            names.node(number).map(|node| about(number, node))
        });
        match found {
            Ok(about) => reply.entry(&TTL, &about, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.about(number.0) {
            Ok(about) => reply.attr(&TTL, &about),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
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
        match size.map_or(Ok(()), |size| self.act(Call::Resize, |names| names.resize(number.0, size))) {
            Ok(()) => self.getattr(request, number, handle, reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        match self.make(parent, name, Node::Directory(Directory::default())) {
            Ok(about) => reply.entry(&TTL, &about, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, Node::File(File::default())) {
            Ok(about) => reply.created(&TTL, &about, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.act(Call::Remove, |names| names.remove(parent.0, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(self.act(Call::Remove, |names| names.remove(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(self.act(Call::Rename, |names| names.rename((parent.0, name), (new_parent.0, new_name))), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.act(Call::Open, |_| Ok(())) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.act(Call::Read, |names| names.read(number.0, offset, size as usize).map(<[u8]>::to_vec)) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.act(Call::Write, |names| names.write(number.0, offset, bytes)) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    /// What comes with each close, and promises nothing.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.sync(number.0, reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        self.sync(number.0, reply);
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let listed = self.act(Call::Open, |names| {
            let with_kind = |(name, node): (OsString, u64)| Ok((name, node, kind(names.node(node)?)));
            names.list(number.0)?.into_iter().map(with_kind).collect::<Result<Vec<_>, _>>()
        });
        match listed {
            Ok(listed) => {
                let handle = self.handles.fetch_add(1, Ordering::Relaxed);
                self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, listed);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = open.get(&handle.0).map(Vec::as_slice).unwrap_or_default();
        for (next, (name, node, kind)) in (1..).zip(listed).skip(offset as usize) {
            if reply.add(INodeNo(*node), next, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.ask(|names| Ok(names.used())) {
            Ok(used) => {
                let free = SIZE.saturating_sub(used) / BLOCK;
                reply.statfs(SIZE / BLOCK, free, free, 1 << 20, 1 << 20, BLOCK as u32, 255, BLOCK as u32);
            }
            Err(errno) => reply.error(errno),
        }
    }

    /// Room is promised by taking it.
    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let grown = self.act(Call::Resize, |names| {
            let end = offset + length;
            if names.node(number.0)?.size() < end { names.resize(number.0, end) } else { Ok(()) }
        });
        answer(grown, reply);
    }
}
