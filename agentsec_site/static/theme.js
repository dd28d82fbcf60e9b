/* Pages that the server does not mark with the theme (the stock admin) get it before they are drawn. */
"use strict";
document.documentElement.dataset.theme = /(?:^|; )agentsec_theme=(light|dark)/.exec(document.cookie)?.[1] ?? "auto";
