package servers

import (
	"net/http"
	"slices"
	"strings"
)

// Refusal is how a store refuses: with a status and a code of S3's.
type Refusal struct {
	Status int
	Code   string
	Kinds  []Request // empty: all
	Region string    // that the answer names as the bucket's; empty: none
	Key    string    // only what is signed with this access key; empty: all
}

// Deny refuses requests from now on, until Permit.
func (p *ReverseProxy) Deny(r Refusal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied = &r
}

// Permit ends Deny.
func (p *ReverseProxy) Permit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied = nil
}

// deny answers a request that is to be refused.
func (p *ReverseProxy) deny(w http.ResponseWriter, req *http.Request, kind Request) bool {
	p.mu.Lock()
	r := p.denied
	p.mu.Unlock()
	if r == nil || len(r.Kinds) > 0 && !slices.Contains(r.Kinds, kind) {
		return false
	}
	if r.Key != "" && !strings.Contains(req.Header.Get("Authorization"), "Credential="+r.Key+"/") {
		return false
	}
	if r.Region != "" {
		w.Header().Set("X-Amz-Bucket-Region", r.Region)
	}
	answerError(w, r.Status, r.Code)
	return true
}
