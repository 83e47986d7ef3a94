package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"testing/synctest"
	"time"

	"entente.example/internal/identity"
	"entente.example/internal/limit"
	ententev1 "entente.example/proto/entente/v1"
)

// age gives a member's node a certificate that ends in so long.
func (w *world) age(m string, ends time.Duration) {
	w.t.Helper()
	h := w.home(m)
	if _, err := h.Keys.RenewNode(h.Dir, time.Now().Add(ends-limit.CertificateLife)); err != nil {
		w.t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// TestCertificatesRenewThemselves starts one node whose certificate ends while it runs, and one that was off until long after, in virtual time:
// nobody does anything, and documents go both ways.
func TestCertificatesRenewThemselves(t *testing.T) {
	t.Parallel()
	today := time.Now()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(today.Add(-80 * time.Hour))) // so that nothing is dated later than the checks at the end
		w := found(t, "alpha", "bravo")
		w.age("alpha", limit.CertificateRenewal+90*time.Minute)
		w.age("bravo", -time.Hour)
		p := &pipes{at: map[string]*pipeListener{}}
		people := map[string]ententev1.NodeServiceClient{}
		for _, m := range w.Names {
			people[m] = p.serve(t, w, m)
		}
		shown := func(m string) (leaf *x509.Certificate) {
			t.Helper()
			cert, err := identity.LoadPerson(w.Home(m), m, w.Person(m))
			if err != nil {
				t.Fatal(err)
			}
			line, err := p.dial(t.Context(), m+" people", false)
			if err != nil {
				t.Fatal(err)
			}
			defer line.Close()
			config := identity.ClientTLS(cert, func(cs tls.ConnectionState) error { leaf = cs.PeerCertificates[0]; return nil })
			config.NextProtos = []string{"h2"}
			if err := tls.Client(line, config).HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			return leaf
		}
		exchange := func() {
			t.Helper()
			for from, to := range map[string]string{"alpha": "bravo", "bravo": "alpha"} {
				ref := p.send(t, people[from], to)[0]
				time.Sleep(time.Minute)
				out, err := people[from].Show(t.Context(), &ententev1.ShowRequest{Exchange: ref})
				if err != nil || out.GetExchanges()[0].GetState() != "delivered" {
					t.Errorf("%s to %s: %v %v", from, to, out, err)
				}
			}
		}
		time.Sleep(time.Minute)
		if left := time.Until(shown("bravo").NotAfter); left < limit.CertificateLife-time.Hour {
			t.Errorf("bravo's certificate ends in %s", left)
		}
		exchange()
		before := shown("alpha")
		time.Sleep(3 * time.Hour)
		after := shown("alpha")
		if after.SerialNumber.Cmp(before.SerialNumber) == 0 || !after.NotAfter.After(before.NotAfter.Add(limit.CertificateLife-limit.CertificateRenewal-3*time.Hour)) {
			t.Errorf("after it was due, alpha shows the certificate that ends at %s, and before one that ends at %s", after.NotAfter, before.NotAfter)
		}
		exchange()
		h := w.home("alpha")
		defer h.Close()
		if h.Keys.Node.Leaf.SerialNumber.Cmp(after.SerialNumber) != 0 {
			t.Error("the home holds another certificate than the node shows")
		}
	})
}
