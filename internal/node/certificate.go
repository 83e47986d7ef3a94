package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/store"
)

// warn tells of certificates of ours that end soon, the node's own and its people's.
func (n *node) warn() {
	if end, soon := identity.ExpiresSoon(*n.certificate.Load(), n.now()); soon {
		n.log.Warn("the node's certificate ends soon", "at", end)
	}
	list, err := n.People()
	if err != nil {
		n.log.Error("cannot read who works for this member", "error", err)
	}
	for _, one := range list {
		if !one.CertificateEnds.IsZero() && n.now().Add(limit.CertificateWarning).After(one.CertificateEnds) {
			n.log.Warn("a person's certificate ends soon", "person", one.Name, "at", one.CertificateEnds)
		}
	}
}

// shown is the node's certificate, as it was renewed last. One that cannot be used now is renewed at once: a renewal has failed, or a clock was wrong.
func (n *node) shown() *tls.Certificate {
	if c := n.certificate.Load(); identity.Usable(*c, n.now()) == nil {
		return c
	}
	n.renew()
	return n.certificate.Load()
}

// renew issues the node a new certificate if it is time, and looks again limit.RetryMost after a failure at the soonest. The authority that does is
// ours, and stands on our card, so that nobody else needs to know.
func (n *node) renew() {
	n.renewal.Lock()
	defer n.renewal.Unlock()
	old, now := n.certificate.Load().Leaf, n.now()
	early := now.Before(old.NotBefore)
	if !early && now.Add(limit.CertificateRenewal).Before(old.NotAfter) || time.Since(n.renewTried) < limit.RetryMost {
		return
	}
	n.renewTried = time.Now()
	var err error
	if early {
		err = n.clockBehind(now)
	}
	var cert tls.Certificate
	if err == nil {
		cert, err = n.Keys.RenewNode(n.Dir, now)
	}
	if err != nil {
		n.log.Error("cannot renew the node's certificate", "begins", old.NotBefore, "ends", old.NotAfter, "error", err)
		return
	}
	n.certificate.Store(&cert)
	n.log.Info("renewed the node's certificate", "ends", cert.Leaf.NotAfter)
}

// clockBehind says so if our clock is behind our own log. A certificate that is not valid yet is not to be replaced then: nobody would accept one from
// that time, and it will do when the clock is right again. If the clock is not behind, it was ahead when the certificate was made.
func (n *node) clockBehind(now time.Time) error {
	var note []byte
	err := n.DB.View(context.Background(), func(v *store.View) (err error) { _, note, err = v.Checkpoint(); return err })
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read our checkpoint: %w", err)
	}
	c, err := checkpoint.Open(note, n.ownLog())
	if err != nil {
		return err
	}
	if now.Add(limit.ClockSkew).Before(c.Time) {
		return fault.New(fault.Failed, "set the clock of this machine", "it is %s, and our log was signed at %s", now.UTC().Format(time.RFC3339), c.Time.UTC().Format(time.RFC3339))
	}
	return nil
}
