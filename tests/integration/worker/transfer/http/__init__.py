"""HTTP as origins speak it: logins, redirects, TLS, cookies, odd and hostile responses."""
