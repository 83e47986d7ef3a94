package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"

	"entente.example/internal/durable"
)

// The reference is the least that brings a document, sealed and durable, from one process to another. The sender reads the document,
// encrypts it with age to one hybrid key, hashes what comes out and writes it to a spool file, which it syncs. Then it sends the
// spool over TLS 1.3, on one connection that stays open. The receiver hashes and writes what comes, syncs the file and its folder,
// and acknowledges. One document at a time, through buffers of 1 MiB: no policy, log, database or gRPC.
//
// On the connection a document is its size in eight bytes, its SHA-256, and the bytes. The acknowledgement is the SHA-256.

// ReferenceCommand is the name of the hidden command that runs ReceiveReference.
const ReferenceCommand = "reference"

// meeting is what the receiver prints when it listens.
type meeting struct {
	Address     string `json:"address"`
	Certificate []byte `json:"certificate"` // DER
}

// ReceiveReference is the receiver of the reference. It prints to out where it listens, and serves one connection, until that or
// the context ends. It writes the documents into dir.
func ReceiveReference(ctx context.Context, dir string, out io.Writer) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	b, err := json.Marshal(meeting{l.Addr().String(), cert.Certificate[0]})
	if err == nil {
		_, err = out.Write(append(b, '\n'))
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	raw, err := l.Accept()
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	conn := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}, DynamicRecordSizingDisabled: true})
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = raw.Close() })()
	r := receiver{dir: dir, conn: conn, hash: sha256.New(), buf: make([]byte, bufferSize)}
	for {
		err := r.receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
}

type receiver struct {
	dir  string
	conn io.ReadWriter
	hash hash.Hash
	buf  []byte
	n    int // of the documents that came
}

// receive takes one document. io.EOF says that no other comes.
func (r *receiver) receive() error {
	var head [8 + sha256.Size]byte
	if _, err := io.ReadFull(r.conn, head[:]); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint64(head[:])) //nolint:gosec // our own sender's
	r.n++
	f, err := os.OpenFile(filepath.Join(r.dir, strconv.Itoa(r.n)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	r.hash.Reset()
	for err == nil && size > 0 {
		b := r.buf[:min(size, bufferSize)]
		if _, err = io.ReadFull(r.conn, b); err == nil {
			r.hash.Write(b)
			_, err = f.Write(b)
		}
		size -= int64(len(b))
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	sum := r.hash.Sum(nil)
	if !bytes.Equal(sum, head[8:]) {
		return errors.New("what came is not what was sent")
	}
	if err := durable.SyncDir(r.dir); err != nil {
		return err
	}
	_, err = r.conn.Write(sum)
	return err
}

// reference is the sender of the reference. One goroutine may use it.
type reference struct {
	spools, stored string // the folders of the sender and of the receiver
	to             age.Recipient
	conn           *tls.Conn
	receiver       *process
	hash           hash.Hash
	buf            []byte
	out            *bufio.Writer
	n              int // of the documents sent
}

// startReference starts the receiver, and connects to it.
func startReference(ctx context.Context, o Options, dir string) (_ *reference, err error) {
	r := &reference{spools: filepath.Join(dir, "sent"), stored: filepath.Join(dir, "received"), hash: sha256.New(), buf: make([]byte, bufferSize), out: bufio.NewWriterSize(nil, bufferSize)}
	for _, d := range []string{r.spools, r.stored} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, err
	}
	r.to = key.Recipient()
	var at meeting
	if r.receiver, err = start(ctx, o.Program(ctx, "bench", ReferenceCommand, r.stored), &at); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.receiver.stop())
		}
	}()
	cert, err := x509.ParseCertificate(at.Certificate)
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}, DynamicRecordSizingDisabled: true}}).DialContext(ctx, "tcp", at.Address)
	if err != nil {
		return nil, err
	}
	r.conn = conn.(*tls.Conn) //nolint:forcetypeassert // what tls.Dialer gives
	return r, nil
}

func (r *reference) parallel() bool { return false }

// exchange brings one document over.
func (r *reference) exchange(ctx context.Context, document string) error {
	defer context.AfterFunc(ctx, func() { _ = r.conn.NetConn().Close() })()
	r.n++
	path := filepath.Join(r.spools, strconv.Itoa(r.n))
	spool, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer spool.Close()
	if err := r.spool(spool, document); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := r.send(spool); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

func (r *reference) spool(spool *os.File, document string) error {
	doc, err := os.Open(document)
	if err != nil {
		return err
	}
	defer doc.Close()
	r.hash.Reset()
	r.out.Reset(spool)
	w, err := age.Encrypt(io.MultiWriter(r.hash, r.out), r.to)
	if err != nil {
		return err
	}
	// Without the wrapping, CopyBuffer would take the file's own way, with a smaller buffer.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{doc}, r.buf); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := r.out.Flush(); err != nil {
		return err
	}
	return spool.Sync()
}

func (r *reference) send(spool *os.File) error {
	size, err := spool.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := r.hash.Sum(nil)
	head := append(binary.BigEndian.AppendUint64(nil, uint64(size)), sum...) //nolint:gosec // never negative
	if _, err := r.conn.Write(head); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{r.conn}, struct{ io.Reader }{spool}, r.buf); err != nil {
		return err
	}
	acknowledged := make([]byte, len(sum))
	if _, err := io.ReadFull(r.conn, acknowledged); err != nil {
		return err
	}
	if !bytes.Equal(acknowledged, sum) {
		return errors.New("another document was acknowledged")
	}
	return nil
}

// empty removes what was brought over so far.
func (r *reference) empty() error {
	for _, d := range []string{r.spools, r.stored} {
		list, err := os.ReadDir(d)
		for _, e := range list {
			err = errors.Join(err, os.Remove(filepath.Join(d, e.Name())))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reference) close() error { return errors.Join(r.conn.Close(), r.receiver.wait()) }

// selfSigned makes a certificate for loopback that lives as long as this process.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
