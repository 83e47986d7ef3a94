package identity

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/statement"
)

// Load reads a member's keys from its home. Files that others may read or change are refused, with the command that
// mends it, and so is a key or a certificate that belongs to somebody else. The authority's private key is not read.
// Whether the node's certificate is still valid is another question: see Usable and ExpiresSoon.
func Load(dir, member string) (*Keys, error) {
	if err := checkKeyFiles(filepath.Join(dir, keysDir)); err != nil {
		return nil, err
	}
	k := &Keys{Member: member}
	for _, f := range []struct {
		file string
		key  **statement.Key
		ok   func(name string) bool
	}{
		{"statement.key", &k.Statement, func(name string) bool { return name == member+"/statement" }},
		{"log.key", &k.Log, func(name string) bool { return statement.ValidLog(name, member) == nil }},
		{"witness.key", &k.Witness, func(name string) bool { return name == member+"/witness" }},
	} {
		key, err := loadKey(filepath.Join(dir, keysDir, f.file))
		if err != nil {
			return nil, err
		}
		if !f.ok(key.Name()) {
			return nil, fault.New(fault.Invalid, "put the right file back", "%s holds the key %.80q, which is not %s's for this purpose", filepath.Join(dir, keysDir, f.file), key.Name(), member)
		}
		*f.key = key
	}
	var err error
	if k.LogMLDSA, err = loadMLDSA(filepath.Join(dir, keysDir, "log-mldsa.key"), k.Log.Name()); err != nil {
		return nil, err
	}
	if k.WitnessMLDSA, err = loadMLDSA(filepath.Join(dir, keysDir, "witness-mldsa.key"), k.Witness.Name()); err != nil {
		return nil, err
	}
	if err := k.loadSealing(filepath.Join(dir, keysDir, "sealing.key")); err != nil {
		return nil, err
	}
	if k.CA, err = LoadCA(dir, member); err != nil {
		return nil, err
	}
	if k.Node, err = k.loadNode(dir); err != nil {
		return nil, err
	}
	return k, nil
}

// LoadCA reads the certificates of the member's own authority. A person's program needs them to know its node.
func LoadCA(dir, member string) ([]byte, error) {
	path := filepath.Join(dir, certsDir, "ca.pem")
	b, err := readPublic(path)
	if err != nil {
		return nil, err
	}
	bundle, err := parseBundle(member, b)
	if err != nil || bundle.Empty() {
		return nil, fault.New(fault.Invalid, "put the right file back", "%s holds no certificate of an authority", path)
	}
	return b, nil
}

func loadKey(path string) (*statement.Key, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	key, err := statement.ParseKey(string(b))
	if err != nil {
		return nil, fault.New(fault.Invalid, "put the right file back", "%s: %w", path, err)
	}
	return key, nil
}

// loadMLDSA reads a post-quantum key, which bears the name of the Ed25519 key beside it: both sign the same checkpoints.
func loadMLDSA(path, name string) (*checkpoint.Key, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	key, err := checkpoint.ParseKey(string(b))
	if err != nil {
		return nil, fault.New(fault.Invalid, "put the right file back", "%s: %w", path, err)
	}
	if key.Name() != name {
		return nil, fault.New(fault.Invalid, "put the right file back", "%s holds the key %.80q, expected %q", path, key.Name(), name)
	}
	return key, nil
}

// loadSealing reads age identities, one a line, in age's own file format: other lines are empty or begin with #.
func (k *Keys) loadSealing(path string) error {
	b, err := readPrivate(path)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseHybridIdentity(line)
		if err != nil {
			// What age says may repeat parts of the key.
			return fault.New(fault.Invalid, "put the right file back", "%s: line %d is not an age hybrid identity", path, n)
		}
		k.Sealing = append(k.Sealing, Secret{line})
		k.SealingRecipients = append(k.SealingRecipients, id.Recipient().String())
	}
	if lines.Err() != nil || len(k.Sealing) == 0 {
		return fault.New(fault.Invalid, "put the right file back", "%s holds no age hybrid identity", path)
	}
	return nil
}

// loadPair reads a certificate and its private key, and checks that it names exactly id.
func loadPair(certFile, keyFile, id string) (tls.Certificate, error) {
	key, err := readPrivate(keyFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := readPublic(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	p, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fault.New(fault.Invalid, "put the right files back", "%s and %s do not belong together: %w", certFile, keyFile, err)
	}
	uris, err := rawURIs(p.Leaf)
	if err != nil || len(uris) != 1 || uris[0] != id || len(p.Certificate) != 1 {
		return tls.Certificate{}, fault.New(fault.Invalid, "put the right file back", "%s is not one certificate of %s", certFile, id)
	}
	return p, nil
}

// issuedBy looks only at the signature; times and the rest are judged by whoever is shown the certificate.
func issuedBy(leaf *x509.Certificate, ca []byte) error {
	bundle, err := parseBundle("own", ca)
	if err != nil {
		return err
	}
	for _, a := range bundle.X509Authorities() {
		if leaf.CheckSignatureFrom(a) == nil {
			return nil
		}
	}
	return fmt.Errorf("our own authority did not issue it")
}

func parseBundle(member string, pem []byte) (*x509bundle.Bundle, error) {
	td, err := spiffeid.TrustDomainFromString(member)
	if err != nil {
		return nil, err
	}
	return x509bundle.Parse(td, pem)
}
