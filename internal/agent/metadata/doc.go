// Package metadata renders what a guest may ask about itself: the OpenStack and the EC2 trees of the
// metadata service at 169.254.169.254, and the same content as files of a config drive. The trees are
// pure functions of an Instance; the HTTP handler only finds the instance that asks. The package must
// not know how packets reach it (namespaces and redirects are the router's and the DHCP service's) nor
// how a config drive is packed.
package metadata
