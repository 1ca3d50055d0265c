const given = /^#token=(.+)/.exec(location.hash), here = location.pathname + location.search;
if (given) history.replaceState(null, "", here);
const form = document.forms[0];
if (form && given) {
  form.elements.token.value = decodeURIComponent(given[1]);
  form.submit();
} else if (form && form.dataset.from === "cross-site") {
  location.replace(here);  // a link on another site's page came without the cookie; from here it is sent
}
