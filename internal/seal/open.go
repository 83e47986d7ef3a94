package seal

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
)

// Document is a sealed document that Verify has read to its end and found right. Nothing of it is released until WriteTo or WriteFrom.
// It may be used concurrently as far as its payload may.
type Document struct {
	// Name is the file name that the sender gave: valid, but chosen by somebody else.
	Name string
	// MediaType is TYPE/SUBTYPE as the sender claims it.
	MediaType string
	// Size is the document's size in bytes.
	Size int64
	// SHA256 is the hash of the document as Verify saw it: what the parts must have that several WriteFrom have released.
	SHA256 statement.Hash

	file *file
	core statement.Hash
	want string // the commitment
}

// Verify reads the whole payload and tells whether it is the document of manifest m, without releasing anything of it:
// the header is the signed one, as CheckHeader has it; the payload has the signed size and hash, which is known before
// anything is decrypted; it decrypts to its end; the inner header names the manifest's core; and the plaintext is what
// the sender committed to.
//
// payload begins with the age nonce, must end exactly where the manifest says, and must stay until the Document is no longer used.
// Whoever wants to interrupt Verify lets payload fail. The caller has checked the manifest's signature.
//
// The error is one of this package's, or wraps that of payload.
func Verify(header []byte, payload io.ReaderAt, m *statement.Manifest, keys ...*Key) (*Document, error) {
	fileKey, err := openHeader(header, m, keys)
	if err != nil {
		return nil, err
	}
	f := newFile(header, fileKey, payload, m.Content.CiphertextSize, m.Content.CiphertextHash)
	if err := f.check(); err != nil {
		return nil, err
	}
	d := &Document{file: f, core: m.Core(), want: m.Content.Commitment}
	sum := sha256.New()
	in, size, err := d.pass(sum)
	if err != nil {
		return nil, err
	}
	d.Name, d.MediaType, d.Size, d.SHA256 = in.Name, in.MediaType, size, sumOf(sum)
	return d, nil
}

// WriteTo decrypts the document once more into w, and checks everything once more. It implements io.WriterTo.
//
// w gets writes of limit.Chunk bytes; the last one comes only after everything before and in it was found right. So a
// document is complete if and only if the error is nil: on any error, discard what w got.
func (d *Document) WriteTo(w io.Writer) (int64, error) {
	if d.file == nil {
		return 0, errors.New("release document: it was not verified")
	}
	_, n, err := d.pass(w)
	return n, err
}

// WriteFrom decrypts the document from byte offset on into w, for who has what comes before, and reads no more of the payload than that needs.
//
// So it cannot check everything once more: it knows each age chunk to be made with the file key, which other recipients know too, but neither the
// payload's hash nor the commitment. Whoever joins the parts compares them with SHA256, and has the document if and only if that is equal.
func (d *Document) WriteFrom(w io.Writer, offset int64) (int64, error) {
	if d.file == nil || offset < 0 || offset > d.Size {
		return 0, fmt.Errorf("release document: it was not verified, or has no byte %d", offset)
	}
	src := &joined{f: d.file}
	plain, size, err := age.DecryptReaderAt(src, int64(len(d.file.header))+d.file.size, age.NewInjectedFileKeyIdentity(d.file.fileKey()))
	if err != nil {
		return 0, src.blame()
	}
	// The inner header comes first; Verify has seen that the document is the rest.
	r := io.NewSectionReader(plain, size-d.Size+offset, d.Size-offset)
	buf := make([]byte, limit.Chunk)
	for n := int64(0); ; {
		m, err := io.ReadFull(r, buf)
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return n, src.blame()
		}
		if m > 0 {
			m, err := w.Write(buf[:m])
			n += int64(m)
			if err != nil {
				return n, fmt.Errorf("write document: %w", err)
			}
		}
		if end && n < d.Size-offset {
			return n, src.blame()
		}
		if end {
			return n, nil
		}
	}
}

// pass reads the payload once from start to end, and returns what was released to w, all of it only if err is nil.
func (d *Document) pass(w io.Writer) (Inner, int64, error) {
	plain, err := d.file.open()
	if err != nil {
		return Inner{}, 0, err
	}
	r := bufio.NewReaderSize(plain, limit.Inner)
	in, salt, err := readInner(r)
	if err == nil && in.Core != d.core {
		err = ErrCore
	}
	if err != nil {
		return Inner{}, 0, settle(r, err)
	}
	mac := newCommitment(salt, in)
	n, err := release(w, r, mac, func() error {
		// In constant time, although everybody may know both: MACs are never compared otherwise.
		if !hmac.Equal([]byte(commitment(mac)), []byte(d.want)) {
			return ErrCommitment
		}
		return nil
	})
	return in, n, err
}

// settle finds the reason behind an error of the inner header: if the payload changed since it was checked, or does not
// decrypt to its end, then that is what is wrong.
func settle(r io.Reader, err error) error {
	if _, worse := io.Copy(io.Discard, r); worse != nil {
		return worse
	}
	return err
}

// release copies the document from r to w and mac, always one chunk behind: the last chunk goes out after r has come to
// its clean end and ok agrees. It returns how much w took.
func release(w io.Writer, r io.Reader, mac hash.Hash, ok func() error) (n int64, err error) {
	put := func(b []byte) error {
		m, err := w.Write(b)
		n += int64(m)
		if err == nil && m != len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return fmt.Errorf("write document: %w", err)
		}
		return nil
	}
	held, next := make([]byte, 0, limit.Chunk), make([]byte, limit.Chunk)
	var size int64
	for {
		m, err := io.ReadFull(r, next[:limit.Chunk])
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return n, err
		}
		if size += int64(m); size > limit.Document {
			return n, fmt.Errorf("%w: larger than %d bytes", ErrUndecryptable, limit.Document)
		}
		mac.Write(next[:m])
		if end {
			if err := ok(); err != nil {
				return n, err
			}
		}
		if len(held) > 0 {
			if err := put(held); err != nil {
				return n, err
			}
		}
		held, next = next[:m], held
		if end {
			break
		}
	}
	if len(held) > 0 {
		err = put(held)
	}
	return n, err
}

// file is an age file in two parts whose header was opened.
type file struct {
	header  []byte
	fileKey func() []byte // a func, because no verb of fmt prints what is behind one
	payload io.ReaderAt
	size    int64          // of the payload
	hash    statement.Hash // of the payload
}

func newFile(header, fileKey []byte, payload io.ReaderAt, size int64, hash statement.Hash) *file {
	return &file{bytes.Clone(header), func() []byte { return fileKey }, payload, size, hash}
}

// check tells whether the payload has the right size and hash, before anything is decrypted.
func (f *file) check() error {
	if f.size < nonceSize+chunkTagSize || f.size > largestPayload {
		return fmt.Errorf("%w: %d bytes are no payload", ErrUndecryptable, f.size)
	}
	src := f.source()
	if err := src.drain(); err != nil {
		return err
	}
	return src.check()
}

// largestPayload is the size of the payload that holds a largest document.
const largestPayload = nonceSize + limit.Inner + limit.Document + (limit.Inner+limit.Document+chunkSize-1)/chunkSize*chunkTagSize

// open gives the plaintext. It ends in io.EOF only if the payload that was read on the way was the right one, to its last byte; else
// in ErrPayload, ErrUndecryptable or an error of the payload's reader.
func (f *file) open() (io.Reader, error) {
	src := f.source()
	// The header is given again because Decrypt wants a whole file; its MAC is checked again in passing.
	plain, err := age.Decrypt(io.MultiReader(bytes.NewReader(f.header), src), age.NewInjectedFileKeyIdentity(f.fileKey()))
	if err != nil {
		return nil, src.blame()
	}
	return &plaintext{plain, src}, nil
}

func (f *file) source() *source {
	return &source{f: f, section: io.NewSectionReader(f.payload, 0, f.size), hash: sha256.New()}
}

// plaintext turns age's errors, which tell nobody who is to blame, into ours.
type plaintext struct {
	age io.Reader
	src *source
}

func (p *plaintext) Read(b []byte) (int, error) {
	n, err := p.age.Read(b)
	switch {
	case err == io.EOF:
		// age has read to the payload's end, for it looks for trailing data.
		if err := p.src.check(); err != nil {
			return 0, err
		}
	case err != nil:
		return 0, p.src.blame()
	}
	return n, err
}

// source reads a payload once from start to end, hashes what it reads, and remembers a failure to read.
type source struct {
	f       *file
	section *io.SectionReader
	hash    hash.Hash
	size    int64
	err     error // other than io.EOF
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.section.Read(b)
	s.hash.Write(b[:n])
	s.size += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// drain reads the rest.
func (s *source) drain() error {
	buf := make([]byte, limit.Chunk)
	for {
		if _, err := s.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read payload: %w", err)
		}
	}
}

// check tells, after everything was read, whether it was the right payload and whether it ends there.
func (s *source) check() error {
	if s.size != s.f.size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrPayload, s.size, s.f.size)
	}
	if n, err := s.f.payload.ReadAt(make([]byte, 1), s.f.size); n != 0 {
		return fmt.Errorf("%w: more than %d bytes", ErrPayload, s.f.size)
	} else if err != nil && err != io.EOF {
		return fmt.Errorf("read payload: %w", err)
	}
	if sumOf(s.hash) != s.f.hash {
		return fmt.Errorf("%w: its hash differs", ErrPayload)
	}
	return nil
}

// blame says why age failed: because the payload could not be read, because it is no longer the right one, or because
// the sender made it so. What age says itself is left out.
func (s *source) blame() error {
	if s.err != nil {
		return fmt.Errorf("read payload: %w", s.err)
	}
	if err := s.drain(); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	return fmt.Errorf("%w: the payload does not decrypt to its end", ErrUndecryptable)
}

// joined is the age file in one part again, for reading here and there.
type joined struct {
	f   *file
	err error // of the payload's reader, other than io.EOF
}

// ReadAt reads the header that was opened, then the payload.
func (j *joined) ReadAt(b []byte, at int64) (n int, err error) {
	if head := int64(len(j.f.header)); at < head {
		n = copy(b, j.f.header[at:])
		at = 0
	} else {
		at -= head
	}
	if n == len(b) {
		return n, nil
	}
	m, err := j.f.payload.ReadAt(b[n:], at)
	if err != nil && err != io.EOF {
		j.err = err
	}
	return n + m, err
}

// blame says why age failed: because the payload could not be read, or because it has changed since Verify decrypted the whole of it.
func (j *joined) blame() error {
	if j.err != nil {
		return fmt.Errorf("read payload: %w", j.err)
	}
	return fmt.Errorf("%w: it has changed", ErrPayload)
}
