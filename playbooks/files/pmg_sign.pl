# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Arguments: domains. Has a message of each signed by the gateway's own code after the gateway's own configuration, as its
# filter does with mail of trusted hosts, and prints them as JSON. Nothing is sent anywhere.
use strict;
use warnings;

use JSON;
use MIME::Entity;
use POSIX qw(setlocale strftime LC_TIME);

use PMG::Config;
use PMG::DKIMSign;

setlocale(LC_TIME, 'C');
my $config = PMG::Config->new();
my $dkim = {
    sign_all => $config->get('admin', 'dkim_sign_all_mail'),
    use_domain => $config->get('admin', 'dkim-use-domain'),
    selector => $config->get('admin', 'dkim_selector'),
};

sub signed {
    my ($domain) = @_;
    my $sender = "postmaster\@$domain";
    my $message = MIME::Entity->build(
        From => $sender,
        To => $sender,
        Date => strftime('%a, %d %b %Y %H:%M:%S +0000', gmtime()),
        'Message-ID' => '<probe.' . time() . ".$$\@$domain>",
        Subject => 'Which keys sign?',
        Type => 'text/plain',
        Data => ["This message tests which keys a signer uses. It was never sent.\n"],
    );
    eval { PMG::DKIMSign::sign_entity($message, $dkim, $sender) if $config->get('admin', 'dkim_sign'); };
    my $problem = $@;
    chomp $problem;
    my @selectors = sort map { /(?:^|;)\s*s\s*=\s*([^;\s]+)/ ? $1 : () } $message->head->get_all('DKIM-Signature');
    my $text = $message->as_string();
    $text =~ s/\r?\n/\r\n/g;
    return { domain => $domain, selectors => \@selectors, text => $problem ? '' : $text, problem => $problem };
}

print JSON->new->ascii->encode([map { signed($_) } @ARGV]);
