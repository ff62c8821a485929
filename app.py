"""AIGI Explorer: ``streamlit run app.py``. Wiring only; what the app shows is in pages/, how it is
shown in ui/.
"""

import streamlit as st

import ui

if __name__ == "__main__":  # what Streamlit runs for a session
    page = st.navigation(ui.navigation(), expanded=True)
    st.set_page_config(page_title=ui.tab_title(page.title), page_icon=ui.ICON, layout="wide")
    ui.start()
    ui.frame()
    page.run()
else:  # what ``streamlit run`` imports, once, for its server
    from starlette.middleware import Middleware

    from ui.preparation import prepared
    from ui.toolkit.access import Gate
    from ui.toolkit.scripts import Scripts
    from ui.toolkit.uploads import UploadLimits

    layers = [Middleware(Gate), Middleware(Scripts), Middleware(UploadLimits)]
    app = st.App(__file__, lifespan=prepared, middleware=layers)
