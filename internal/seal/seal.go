// Package seal encrypts a document to the members that its manifest names, and opens it again only if every byte is what
// the manifest's sender signed.
//
// # Why age alone is not enough
//
// age authenticates nobody. Any recipient of a file learns its file key, and can put another payload under the unchanged
// header for the other recipients. So the binding goes both ways: the plaintext begins with an inner header that names
// the core of its manifest (what the sender said before there was a ciphertext), and the manifest's [content] names the
// ciphertext, the age header, and a salted commitment to the plaintext. docs/formats/sealed.md specifies all of it.
//
// # What holds
//
//   - Only hybrid post-quantum keys (age1pq…) seal or open: no passphrase, no plugin, no classic key, no armor.
//   - The age header travels apart from the payload, so that forgetting the header makes the payload useless.
//   - Verify reads the whole payload and releases nothing. Document.WriteTo reads it again and checks it again, and keeps
//     the end of the document back until everything was found right. Document.WriteFrom goes on in the middle, for who
//     compares the whole with the hash that Verify found.
//   - Memory stays constant whatever the document's size.
//   - No error carries key material, a salt, or plaintext (file names and media types are plaintext).
//
// Sealing and opening look like this:
//
//	core := manifest.Core()
//	sealed, err := seal.Seal(blob, recipients, seal.Inner{Core: core, Name: "report.pdf", MediaType: "application/pdf"}, src)
//	manifest.Content = sealed.Content            // then sign it, and send it with sealed.Header and the blob
//
//	doc, err := seal.Verify(header, blob, manifest, key)   // nothing is released yet: record the opening now
//	_, err = doc.WriteTo(w)                                // on an error, discard what w got
package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
	"filippo.io/age"
)

// Sealed is what the sender keeps and signs of a sealed document, apart from the payload.
type Sealed struct {
	// Header is the age header, up to and including its last line. It is at most limit.Header bytes.
	Header []byte
	// Content goes into the manifest as it is. Its ciphertext is the age payload: the nonce and the chunks.
	Content statement.Content
	// Salt opens the commitment. The sender keeps it as long as its record of the document.
	Salt Salt
}

// Salt keys the commitment to a document. Who has it can test a guess at the document, so it prints redacted.
type Salt [32]byte

// Format prints a fixed text instead of the salt, whatever the verb.
func (Salt) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// Seal encrypts src for recipients and writes the age payload to dst, without the age header.
//
// There are 1 to limit.Recipients recipients, all different, each the string of a hybrid key (age1pq…); their stanzas
// stand in the given order. src must end after at most limit.Document bytes. dst gets writes of limit.Chunk bytes, is neither synced
// nor closed, and after an error holds garbage. Seal reads and writes as it goes, in constant memory.
func Seal(dst io.Writer, recipients []string, in Inner, src io.Reader) (*Sealed, error) {
	return sealUpTo(limit.Document, dst, recipients, in, src)
}

func sealUpTo(most int64, dst io.Writer, recipients []string, in Inner, src io.Reader) (*Sealed, error) {
	if err := in.check(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	to, err := parseRecipients(recipients)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	out := newPayloadWriter(dst)
	defer out.end()
	header, w, err := encrypt(out, to)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}

	sealed := &Sealed{Header: header}
	_, _ = rand.Read(sealed.Salt[:]) // never fails: it ends the program instead
	mac := newCommitment(sealed.Salt, in)
	if _, err := w.Write(in.render(&sealed.Salt)); err != nil {
		return nil, fmt.Errorf("write payload: %w", err)
	}
	if err := copyDocument(io.MultiWriter(w, mac), src, most); err != nil {
		if errors.Is(err, errWriting) {
			err = fmt.Errorf("write payload: %w", out.finish())
		}
		return nil, err
	}
	// Closing the age writer writes the last chunk: without it the file is truncated.
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write payload: %w", errors.Join(err, out.finish()))
	}
	if err := out.finish(); err != nil {
		return nil, fmt.Errorf("write payload: %w", err)
	}
	sealed.Content = statement.Content{
		CiphertextHash: sumOf(out.hash),
		CiphertextSize: out.size,
		HeaderHash:     sha256.Sum256(header),
		Commitment:     commitment(mac),
	}
	return sealed, nil
}

// chunks are buffers that were used before. They are not cleared: they hold what the program handles anyway.
var chunks = sync.Pool{New: func() any { return new([limit.Chunk]byte) }}

// copyDocument copies src to w until its end, and fails once it has read more than most bytes.
func copyDocument(w io.Writer, src io.Reader, most int64) error {
	chunk := chunks.Get().(*[limit.Chunk]byte) //nolint:forcetypeassert // its New makes nothing else
	defer chunks.Put(chunk)
	buf := chunk[:]
	var size int64
	for {
		n, err := src.Read(buf)
		if size += int64(n); size > most {
			return fmt.Errorf("read document: it is larger than %d bytes", most)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("write payload: %w", err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read document: %w", err)
		}
	}
}

func parseRecipients(recipients []string) ([]age.Recipient, error) {
	// age accepts more than it can open again, so the bound here is not only a matter of size.
	if len(recipients) < 1 || len(recipients) > limit.Recipients {
		return nil, fmt.Errorf("%d recipients, there must be 1 to %d", len(recipients), limit.Recipients)
	}
	seen := make(map[string]bool, len(recipients))
	to := make([]age.Recipient, len(recipients))
	for i, s := range recipients {
		r, err := parseRecipient(s)
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", i+1, err)
		}
		if seen[s] {
			return nil, fmt.Errorf("recipient %d: the same key occurs twice", i+1)
		}
		seen[s] = true
		to[i] = r
	}
	return to, nil
}

// encrypt starts an age file whose header it returns and whose payload goes to out.
//
// age writes the header and the 16-byte nonce during Encrypt and the chunks later, to one writer. So that writer is a
// buffer at first, from which the header is cut, and out afterwards.
func encrypt(out io.Writer, to []age.Recipient) (header []byte, w io.WriteCloser, err error) {
	var start bytes.Buffer
	dst := &redirect{&start}
	if w, err = age.Encrypt(dst, to...); err != nil {
		return nil, nil, fmt.Errorf("encrypt: %w", err)
	}
	header, err = age.ExtractHeader(bytes.NewReader(start.Bytes()))
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt: %w", err)
	}
	nonce, ok := bytes.CutPrefix(start.Bytes(), header)
	if !ok || len(nonce) != nonceSize || len(header) > limit.Header {
		return nil, nil, errors.New("encrypt: age wrote an unexpected header")
	}
	dst.Writer = out
	if _, err := out.Write(nonce); err != nil {
		return nil, nil, fmt.Errorf("write payload: %w", err)
	}
	return header, w, nil
}

// redirect is a writer whose destination may change between two writes.
type redirect struct{ io.Writer }

// payloadWriter counts and hashes what goes to the destination, in writes of limit.Chunk bytes. What is larger is hashed and written behind the
// caller's back while the next chunk is encrypted: each of these takes about as long as the other. The caller ends it with finish, and in any case
// with end, after which nobody uses the destination any more.
type payloadWriter struct {
	dst  io.Writer
	hash hash.Hash
	size int64

	chunk *[limit.Chunk]byte // that is being filled
	n     int                // bytes in it
	// Once the first chunk is full there is a second, and a goroutine that writes the one that is not being filled.
	full chan *[limit.Chunk]byte
	free chan *[limit.Chunk]byte
	done chan struct{}
	err  error // the goroutine's, until done is closed
	fail atomic.Bool
}

func newPayloadWriter(dst io.Writer) *payloadWriter {
	return &payloadWriter{dst: dst, hash: sha256.New(), chunk: chunks.Get().(*[limit.Chunk]byte)} //nolint:forcetypeassert // see chunks
}

// Write takes all of p, unless writing what came before has failed: finish says why.
func (w *payloadWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if w.n == len(w.chunk) {
			if w.fail.Load() {
				return n, errWriting
			}
			w.hand()
		}
		c := copy(w.chunk[w.n:], p)
		w.n, w.size, n, p = w.n+c, w.size+int64(c), n+c, p[c:]
	}
	return n, nil
}

var errWriting = errors.New("what came before could not be written")

// hand hands a full chunk over, and waits for the other one.
func (w *payloadWriter) hand() {
	if w.full == nil {
		w.full, w.free, w.done = make(chan *[limit.Chunk]byte, 1), make(chan *[limit.Chunk]byte, 2), make(chan struct{})
		w.free <- chunks.Get().(*[limit.Chunk]byte) //nolint:forcetypeassert // see chunks
		go w.behind()
	}
	w.full <- w.chunk
	w.chunk, w.n = <-w.free, 0
}

func (w *payloadWriter) behind() {
	defer close(w.done)
	for chunk := range w.full {
		if w.err == nil {
			if w.err = w.put(chunk[:]); w.err != nil {
				w.fail.Store(true)
			}
		}
		w.free <- chunk
	}
}

func (w *payloadWriter) put(b []byte) error {
	w.hash.Write(b)
	_, err := w.dst.Write(b)
	return err
}

// finish writes the rest, and tells whether all went well.
func (w *payloadWriter) finish() error {
	w.stop()
	if w.err == nil {
		w.err = w.put(w.chunk[:w.n])
	}
	return w.err
}

// end is for whoever gives up half way, too.
func (w *payloadWriter) end() {
	w.stop()
	chunks.Put(w.chunk)
}

// stop ends the goroutine, once.
func (w *payloadWriter) stop() {
	if w.full != nil {
		close(w.full)
		<-w.done
		chunks.Put(<-w.free)
		w.full = nil
	}
}

// newCommitment starts HMAC-SHA-256(salt, inner header without its salt line, document). The inner header ends with an
// empty line and has one rendering, so no two pairs of inner header and document give the same input.
func newCommitment(salt Salt, in Inner) hash.Hash {
	mac := hmac.New(sha256.New, salt[:])
	mac.Write(in.render(nil))
	return mac
}

// commitment renders a finished commitment as the manifest has it.
func commitment(mac hash.Hash) string {
	return statement.CommitmentPrefix + hex.EncodeToString(mac.Sum(nil))
}

func sumOf(h hash.Hash) statement.Hash { return statement.Hash(h.Sum(nil)) }
