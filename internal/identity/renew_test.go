package identity

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"entente.example/internal/limit"
)

// TestRenewNode renews a certificate, and puts the home into every state that a crash in between leaves: a certificate always has its key.
func TestRenewNode(t *testing.T) {
	t.Parallel()
	dir, _, keys, _ := created(t, "alpha")
	file := func(name string) string { return filepath.Join(dir, name) }
	read := func(name string) []byte {
		b, err := os.ReadFile(file(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	put := func(name string, b []byte) {
		if err := os.WriteFile(file(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	loads := func(what string, want []byte) {
		t.Helper()
		k, err := Load(dir, "alpha")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !bytes.Equal(k.Node.Certificate[0], want) {
			t.Errorf("%s: it is another certificate", what)
		}
	}
	oldKey, oldCert, old := read("keys/node.key"), read("certs/node.pem"), keys.Node.Certificate[0]

	later := now.Add(limit.CertificateLife - limit.CertificateRenewal)
	cert, err := keys.RenewNode(dir, later)
	if err != nil {
		t.Fatal(err)
	}
	newKey, newCert := read("keys/node.key"), read("certs/node.pem")
	if bytes.Equal(newKey, oldKey) || !cert.Leaf.NotAfter.Equal(later.Add(limit.CertificateLife)) || cert.Leaf.URIs[0].String() != "spiffe://alpha/node" {
		t.Errorf("renewed: ends %s, %s", cert.Leaf.NotAfter, cert.Leaf.URIs)
	}
	if _, err := os.Stat(file("keys/node.key.next")); err == nil {
		t.Error("the next key is still there")
	}
	loads("renewed", cert.Certificate[0])

	put("keys/node.key", oldKey)
	put("certs/node.pem", oldCert)
	put("keys/node.key.next", newKey)
	loads("crashed before the certificate", old)
	put("certs/node.pem", newCert)
	loads("crashed after it", cert.Certificate[0])

	put("keys/ca.key", []byte(keyPEM(t)))
	if _, err := keys.RenewNode(dir, later); err == nil {
		t.Error("another authority's key renewed a certificate")
	}
	loads("could not be renewed", cert.Certificate[0])
	if err := os.Remove(file("keys/node.key")); err != nil {
		t.Fatal(err)
	}
	loads("only the next key is left", cert.Certificate[0])

	// Renewing again, and a crash before that has its certificate, keeps the key of the one in use.
	if err := keys.stageNodeKey(dir, pair{key: []byte("the one after")}); err != nil {
		t.Fatal(err)
	}
	loads("crashed while renewing again", cert.Certificate[0])
}

// TestLoadBesideRenewal loads a home again and again while its certificate is renewed, as other programs may: every time there is a certificate with
// its key.
func TestLoadBesideRenewal(t *testing.T) {
	t.Parallel()
	dir, _, keys, _ := created(t, "alpha")
	done := make(chan error)
	go func() {
		for range 200 {
			if _, err := keys.RenewNode(dir, now); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			if _, err := Load(dir, "alpha"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
